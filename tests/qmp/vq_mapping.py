# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of iothread-vq-mapping share: mappings that are refused, by a device of three queues beside iothreads io0 and io1."""

WRONG = [
    ([], "is empty"), ("io0", "set as JSON"), ([7], "list of objects"), ([{"vqs": [0]}], "list of objects"),
    ([{"iothread": "nobody"}], 'IOThread "nobody" object does not exist'),
    ([{"iothread": "io0"}, {"iothread": "io0"}], "duplicate"),
    ([{"iothread": "io0", "vqs": [0, 1, 2]}, {"iothread": "io1"}], "either all"),
    ([{"iothread": "io0", "vqs": [0, 1]}], "missing vq 2"),
    ([{"iothread": "io0", "vqs": [0, 1, 2, 3]}], "must be less than num_queues 3"),
    ([{"iothread": "io0", "vqs": [0, 1]}, {"iothread": "io1", "vqs": [1, 2]}], "already assigned"),
    ([{"iothread": "io0", "vqs": [0, 1, 1]}], "already assigned"),
    ([{"iothread": "io0", "vqs": 3}], "expected: array"), ([{"iothread": "io0", "vqs": [-1]}], "numbers of queues"),
    ([{"iothread": "io0", "vqs": ["0"]}], "numbers of queues"), ([{"iothread": "io0", "cpus": 1}], "'cpus' is unexpected"),
]


def check_refusals(m, device, good, queues):
    """device(mapping, **properties) is what device_add is given, queues the name of the property that says how many there are;
    good is a mapping of three."""
    def refused(why, mapping, **more):
        got = m.error_of("device_add", **device(mapping, **more))
        assert why in got, f"{mapping}: {got}"

    for mapping, why in WRONG:
        refused(why, mapping)
    refused("cannot both be given", good, iothread="io0")
    refused("less than num_queues 2", good, **{queues: 2})
