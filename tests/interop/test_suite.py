"""What runs the public interoperability suite, without the suite."""

from __future__ import annotations

from pathlib import Path

from tests.interop.suite import failures, known

PAGE = Path("docs/interop.md").read_text()

RESULTS = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<testsuites failures="1" tests="3">
  <testsuite name="XEP0199" tests="3">
    <testcase classname="org.example.PingTest" name="PingTest.testPing (Normal)" time="0"/>
    <testcase classname="org.example.PingTest" name="PingTest.testNoPing (Normal)"><skipped/></testcase>
    <testcase classname="org.example.PingTest" name="PingTest.testPong (tcp, LowLevel)">
      <failure message="Timeout after 5000ms" type="TimeoutException"/>
    </testcase>
  </testsuite>
</testsuites>
"""


def test_a_failed_test_is_found_by_class_and_method() -> None:
    assert failures(RESULTS) == ["PingTest.testPong"]


def test_the_page_names_each_test_that_is_known_not_to_pass() -> None:
    assert known()
    assert [name for name in known() if f"`{name.partition('.')[2]}`" not in PAGE] == []
