tokvault version
tokvault version --json
tokvault --version
tokvault --json version
tokvault --version --json
tokvault --json --version
