"""What a script of the workflow is given: inputs, outputs and parameters of its job."""

from types import SimpleNamespace


class Named(list):
    """Inputs, outputs or parameters of a job: by position and by name."""

    def __init__(self, **named):
        super().__init__(named.values())
        self.__dict__ |= named
        self.named = named

    def __getitem__(self, key):
        return self.named[key] if isinstance(key, str) else super().__getitem__(key)

    def items(self):
        return self.named.items()


def job_of(folder, rule, source, target, **params):
    return SimpleNamespace(
        rule=rule, wildcards={}, input=source, output=[target], params=Named(**params),
        log=[folder / "log"],
    )  # fmt: skip
