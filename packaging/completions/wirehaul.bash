# SPDX-License-Identifier: BSD-3-Clause
# bash completion for wirehaul(1). Needs nothing but bash. Written by hand, compared with "wirehaul --help" by a test.

_wirehaul_adapters() {
	local names=(/sys/class/net/*)
	printf '%s\n' any "${names[@]##*/}"
}

# _wirehaul_names OPTION: what has a profile, or a control socket.
_wirehaul_names() {
	local names=(/etc/wirehaul/*.conf)
	[[ $1 == --control ]] && names=(/run/wirehaul/*)
	[[ -e ${names[0]} ]] || return 0
	names=("${names[@]##*/}")
	printf '%s\n' "${names[@]%.conf}"
}

# _wirehaul_files CURRENT: the files and directories that it may become, whatever is in their names.
_wirehaul_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# _wirehaul_words CURRENT WORD...: those of the words that it may become.
_wirehaul_words() {
	local current=$1
	shift
	mapfile -t COMPREPLY < <(compgen -W "$*" -- "$current")
}

# _wirehaul_value OPTION CURRENT: what the option takes. False if it takes nothing.
_wirehaul_value() {
	case $1 in
	-i | --interface)
		# Of a list, the last name.
		local before=
		[[ $2 == *,* ]] && before=${2%,*},
		mapfile -t COMPREPLY < <(compgen -P "$before" -W "$(_wirehaul_adapters)" -- "${2##*,}")
		;;
	-r | --read | -F | --filter-file | -w | --write | --stats-file | -o | --output) _wirehaul_files "$2" ;;
	--profile | --control)
		if [[ $2 == */* ]]; then
			_wirehaul_files "$2"
		else
			_wirehaul_words "$2" "$(_wirehaul_names "$1")"
		fi
		;;
	-Q | --direction) _wirehaul_words "$2" in out inout ;;
	--format) _wirehaul_words "$2" pcapng pcap pcap-ns ;;
	-a | --autostop)
		_wirehaul_words "$2" duration: files: filesize:
		compopt -o nospace 2>/dev/null
		;;
	-z | --hook) mapfile -t COMPREPLY < <(compgen -c -- "$2") ;;
	-Z | --user) mapfile -t COMPREPLY < <(compgen -u -- "$2") ;;
	--on-low-space) _wirehaul_words "$2" stop recycle ;;
	--cpus) _wirehaul_words "$2" auto none ;;
	--direct-io) _wirehaul_words "$2" auto on off ;;
	--simulate) _wirehaul_words "$2" no-disk no-nic ;;
	-s | --snapshot-length | -C | --file-size | -G | --file-seconds | -W | --keep-files | -c | --count | --min-free | \
		-B | --ring-kib | --fanout | --block-size | --block-timeout | --metrics) COMPREPLY=() ;;
	*) return 1 ;;
	esac
	return 0
}

_wirehaul() {
	local options="-i --interface -r --read -F --filter-file -s --snapshot-length -p --no-promiscuous -Q --direction
		-w --write -C --file-size -G --file-seconds -W --keep-files --format --per-interface -z --hook -Z --user
		-c --count -a --autostop --min-free --on-low-space --adopt --stats-file -q --quiet -v --verbose -B --ring-kib
		--fanout --cpus --block-size --block-timeout --direct-io --simulate --profile --control --metrics
		-D --list-interfaces -h --help -V --version"
	local commands="status rotate stop mark verify repair doctor"
	local current=${COMP_WORDS[COMP_CWORD]} previous= command=${COMP_WORDS[1]-}
	((COMP_CWORD > 0)) && previous=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	# Bash may cut "--option=value" at the sign.
	if [[ $previous == = ]] && ((COMP_CWORD > 1)); then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $current == = ]]; then
		current=
	fi
	if ((COMP_CWORD > 1)) && [[ " $commands " == *" $command "* ]]; then
		_wirehaul_command "$command" "$previous" "$current"
		return
	fi
	_wirehaul_value "$previous" "$current" && return
	if [[ $current == -* ]]; then
		_wirehaul_words "$current" "$options"
	elif ((COMP_CWORD == 1)); then
		_wirehaul_words "$current" "$commands"
	fi
}

# _wirehaul_command COMMAND PREVIOUS CURRENT: behind one of the commands that look at captures and files.
_wirehaul_command() {
	local options=
	case $1 in
	status | rotate | mark) options="--control --json -h --help" ;;
	stop) options="--control --json --no-wait -h --help" ;;
	verify) options="-q --quiet --json -h --help" ;;
	repair) options="-o --output --in-place -q --quiet -h --help" ;;
	doctor) options="-i --interface -w --write --min-free --no-measure --json -h --help" ;;
	esac
	if [[ " $options " == *" $2 "* ]] && _wirehaul_value "$2" "$3"; then
		return
	elif [[ $3 == -* ]]; then
		_wirehaul_words "$3" "$options"
	elif [[ $1 == verify || $1 == repair ]]; then
		_wirehaul_files "$3"
	fi
}

complete -F _wirehaul wirehaul
