# Completion of jabberctl's options and verbs, for bash:
#     source <(jabberctl completion)
# for zsh the same, after: autoload -U bashcompinit && bashcompinit

_jabberctl_verbs() { # CONFIG COLUMN [NOUN]: the words in that column of the server's own help
    jabberctl --config "$1" help 2>/dev/null |
        awk -v column="$2" -v noun="$3" \
            'NR > 1 && (noun == "" || $1 == noun) && $column ~ /^[a-z]/ { print $column }' | sort -u
}

_jabberctl() {
    local current=${COMP_WORDS[COMP_CWORD]} config="" place choices=""
    local -a said=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
            --config) config=${COMP_WORDS[place + 1]}; ((place++)) ;;
            -*) ;;
            *) said+=("${COMP_WORDS[place]}") ;;
        esac
    done
    COMPREPLY=()
    if [[ $current == -* ]]; then
        choices="--config --federation --help --json --password-stdin --version"
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --config ]]; then
        return # a file: bash knows
    elif [[ -z $config ]]; then
        choices="--config completion"
    elif ((${#said[@]} == 0)); then
        choices=$(_jabberctl_verbs "$config" 1)
    elif ((${#said[@]} == 1)); then
        choices=$(_jabberctl_verbs "$config" 2 "${said[0]}")
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
}

complete -o default -F _jabberctl jabberctl
