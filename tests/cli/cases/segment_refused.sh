tokvault init v --tokenizer bytes > /dev/null
tokvault segment; echo "exit $?"
tokvault segment get v 1234; echo "exit $?"
tokvault segment get v bytes:$(printf '%064d' 0) bytes:$(printf '%064d' 1); echo "exit $?"
tokvault segment put v absent; echo "exit $?"
printf 'x' > x
tokvault segment put v x --as tokens; echo "exit $?"
tokvault segment put v x --as words; echo "exit $?"
tokvault segment hold v bytes:$(printf '%064d' 0); echo "exit $?"
tokvault segment release v; echo "exit $?"
tokvault segment release v bytes:$(printf '%064d' 0) --all; echo "exit $?"
tokvault segment put v x --holder $(printf '%0256d' 0) --json; echo "exit $?"
