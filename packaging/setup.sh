# SPDX-License-Identifier: BSD-3-Clause
# Sourced by ../run and ../test: what the project needs on a fresh Debian 12, and how it is built.

# To build and run the command.
build_packages="build-essential cmake ninja-build pkg-config libpcap-dev liburing-dev libhwloc-dev libmnl-dev
	libcap-ng-dev libjansson-dev libinih-dev libmicrohttpd-dev libsystemd-dev"
# To run every test: the unit tests' library, the independent readers, the makers of networks and disks.
test_packages="libcmocka-dev libck-dev python3 iproute2 tcpdump tshark wireshark-common e2fsprogs xfsprogs util-linux
	ethtool mandoc binutils clang clang-tidy clang-format libclang-rt-14-dev man-db libcap2-bin procps libfuse3-dev fuse3 file systemd
	libseccomp2 prometheus"

# Runs a command of apt-get so that no service that it installs is started, now or later: a test needs the program only.
without_services() {
	policy=/usr/sbin/policy-rc.d
	made=
	[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=$policy; }
	result=0
	"$@" || result=$?
	[ -z "$made" ] || rm -f "$made"
	case " $missing " in
	*" prometheus "*) [ ! -d /run/systemd/system ] || systemctl -q disable prometheus ;;
	esac
	return $result
}

# Installs those of the packages of KIND (build or test) that dpkg does not know as installed.
install_missing() {
	packages=$build_packages
	[ "$1" = test ] && packages="$build_packages $test_packages"
	missing=
	for package in $packages; do
		status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) || status=
		[ "$status" = "install ok installed" ] || missing="$missing $package"
	done
	[ -z "$missing" ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "these packages are missing:$missing; run this with sudo, or install them first" >&2
		exit 2
	fi
	echo "installing:$missing" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update >&2
	# shellcheck disable=SC2086 # a list of words
	without_services apt-get -q -y install --no-install-recommends $missing >&2
}

# Configures PRESET and builds it, or of it what the other arguments name (--target ...). Says little when there is nothing
# to do.
build_preset() {
	(cd "$here" && cmake --preset "$1" --log-level=WARNING && cmake --build --preset "$@")
}
