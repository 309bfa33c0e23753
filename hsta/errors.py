"""The one error a user is meant to read."""


class InputError(Exception):
    """Something the user gave is wrong: a file, a row, a setting, a place without write access.

    The message is written for the user: it says what is wrong, names the file and the row, and says how to cure it.
    Commands print the message without a traceback and exit with status 2.

    Args:
        problem: what is wrong, one sentence.
        where: the file, the row, the setting: as exact as is known.
        cure: what the user can do about it.
    """

    def __init__(self, problem: str, *, where: str = "", cure: str = ""):
        self.problem, self.where, self.cure = problem, where, cure
        parts = [f"{where}: {problem}" if where else problem]
        if cure:
            parts.append(f"  cure: {cure}")
        super().__init__("\n".join(parts))

    def __reduce__(self):  # keyword-only arguments must survive the trip between Ray processes
        return (_rebuild, (self.problem, self.where, self.cure))


def _rebuild(problem: str, where: str, cure: str) -> "InputError":
    return InputError(problem, where=where, cure=cure)
