# SPDX-License-Identifier: BSD-3-Clause
"""What the project wants of wirehaul, held against a result of bench/drops. What was not measured is not judged."""

from parts import REFERENCE

OURS = ("wirehaul", "wirehaul-pcap")
PCAP_TOOLS = ("tcpdump", "dumpcap", "dumpcap-threads", "netsniff-ng")
LEAST_RUNS = 3  # of a cost that is judged
# At a size: the peer, the part of its cost that ours may be, which cost.
COSTS = {"1414": (("tcpdump", 1 / 12, "cpu_per_gb"), ("dumpcap", 1 / 10, "cpu_per_gb"),
                  ("stenotype", 1, "cpu_per_gb"), ("stenotype", 1, "all_per_gb")),
         "60": (("tcpdump", 1 / 3, "cpu_per_million"),)}
WORDS = {"cpu_per_gb": "CPU seconds per GB", "cpu_per_million": "CPU seconds per million frames",
         "all_per_gb": "CPU seconds per GB with all that the machine did beside the sender"}


def judge(result, verdicts):
    for size, by_tool in result["rates"].items():
        mean = result["source"][size]["mean_bytes"]
        _rates(size, by_tool, result["disk"].get(size), mean, verdicts)
    for size, costs in result["costs"].items():
        if costs["runs"] >= LEAST_RUNS:
            _costs(size, costs["tools"], verdicts)
    _sound(result, verdicts)
    for failure in result["failures"]:
        if failure["tool"] in OURS:
            verdicts.check(False, f"{failure['tool']} failed ({failure['part']}): {failure['why']}")
    for tool in result["tools"]:
        if not tool["available"] and tool["package"]:
            verdicts.skip(f"{tool['title']} was not compared: it is not installed", tool["package"])


def _rates(size, by_tool, disk, mean_bytes, verdicts):
    ours = by_tool.get("wirehaul")
    if ours is None:
        return
    ndr = ours["ndr_pps"] or 0
    # Of a peer that lost frames at the lowest rate tried, that rate is the most it can have.
    pcaps = {name: by_tool[name]["ndr_pps"] or by_tool[name]["lowest_tried_pps"] for name in PCAP_TOOLS
             if name in by_tool}
    if size == "1414" and pcaps:
        best = max(pcaps, key=pcaps.get)
        verdicts.check(ours["ndr_is_full_rate"] or (ndr > 0 and ndr >= 3 * pcaps[best]),
                       f"{size}: loses nothing up to {ndr:,.0f} frames a second"
                       f"{', the full rate of one core' if ours['ndr_is_full_rate'] else ''}; at least 3 times "
                       f"{best}'s {pcaps[best]:,.0f}, or all that is sent")
    limit = by_tool.get(REFERENCE)
    if limit is None or not limit["ndr_pps"]:
        return
    if not ours["ndr_is_full_rate"] and disk and 1e-9 * limit["ndr_pps"] * mean_bytes > disk["gb_per_second"]:
        reached = 1e-9 * ndr * mean_bytes
        verdicts.check(reached >= 0.95 * disk["gb_per_second"],
                       f"{size}: the disk is the limit: {reached:.2f} GB of frames a second without a loss, at least "
                       f"0.95 of the {disk['gb_per_second']:.2f} that fio writes: it is "
                       f"{reached / disk['gb_per_second']:.2f}")
        return
    verdicts.check(ours["ndr_is_full_rate"] or ndr >= 0.97 * limit["ndr_pps"],
                   f"{size}: {ndr / limit['ndr_pps']:.2f} of the rate at which discarding every block unread loses "
                   f"nothing, at least 0.97{', or all that is sent: it is' if ours['ndr_is_full_rate'] else ''}")


def _costs(size, by_tool, verdicts):
    ours = by_tool.get("wirehaul")
    if not ours:
        return
    verdicts.check(ours["lost"] == 0, f"{size}: {ours['lost']} frames lost at the rate that all tools sustain")
    for peer, part, key in COSTS.get(size, ()):
        if not by_tool.get(peer):
            continue
        theirs = by_tool[peer][key]
        lost = f" (which lost {by_tool[peer]['lost']:,} frames)" if by_tool[peer]["lost"] else ""
        words = f"at most {peer}'s" if part == 1 else f"at most 1/{1 / part:.0f} of {peer}'s"
        verdicts.check(ours[key] <= part * theirs,
                       f"{size}: {ours[key]:.4f} {WORDS[key]}, {words} {theirs:.4f}{lost}; it is "
                       f"1/{theirs / ours[key]:.1f}")
    dumpcap = by_tool.get("dumpcap")
    if size == "60" and dumpcap and dumpcap["disk_per_captured"] and ours["disk_per_captured"]:
        ratio = ours["disk_per_captured"] / dumpcap["disk_per_captured"]
        verdicts.check(ratio <= 1.25, f"60: {ratio:.2f} of dumpcap's bytes on disk for the same frames, at most 1.25")


def _sound(result, verdicts):
    """wirehaul's files and counters, over all trials."""
    ours = [row for row in result["trials"] if row["tool"] in OURS]
    if not ours:
        return
    faults = sum(any(row["statuses"]) or any(row[name] for name in ("duplicated", "reordered", "corrupt", "truncated",
                                                                    "damaged")) for row in ours)
    verdicts.check(faults == 0, f"wirehaul ended well, its files whole, nothing doubled, reordered or changed in "
                                f"{len(ours) - faults} of {len(ours)} trials")
    agreed = [result["agreement"][name] for name in OURS if name in result["agreement"]]
    trials, agree = sum(each["trials"] for each in agreed), sum(each["agree"] for each in agreed)
    verdicts.check(agree == trials, f"wirehaul's counters agree with the truth to the frame in {agree} of {trials} "
                                    "trials")
