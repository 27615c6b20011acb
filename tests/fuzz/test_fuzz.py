"""A short run of `make fuzz`: the same strategies and checks, fewer inputs."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from targets import TARGETS

SLOW = ("fit", "command line", "load")


@pytest.mark.parametrize("name", TARGETS)
def test_right_result_or_documented_error(name, caplog):
    caplog.set_level(logging.CRITICAL)
    target = TARGETS[name]

    @settings(
        max_examples=4 if any(part in name for part in SLOW) else 25,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ],
    )
    @given(target.examples)
    def check(example):
        assert target.check(example)

    check()
