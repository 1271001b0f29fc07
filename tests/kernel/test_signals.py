"""The attendant's thread."""

from apppot.kernel.signals import Attendant


class Running:
    def __init__(self):
        self.said = []

    def end(self, text):
        self.said.append(text)


def test_a_machine_whose_limits_nobody_keeps_any_more_is_ended():
    def breaks():
        raise FileNotFoundError(2, "No such file or directory", "/cow/upper")

    running, attendant = Running(), Attendant.__new__(Attendant)
    assert attendant._look(running, [lambda: None]) and not running.said
    assert not attendant._look(running, [breaks])
    assert len(running.said) == 1 and "/cow/upper" in running.said[0]
