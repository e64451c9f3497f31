tokvault version
tokvault version --json
tokvault --version
