"""A client of usaged for Python 3.7 and later, by the standard library alone. Copy it beside your program.

    from usaged import Usaged

    usaged = Usaged()
    usaged.record("api_credits", 5, id="order-1")
    print(usaged.status()["meters"])

A record is sent again under the same id until it is answered, and counts once however often it was sent. Whoever has an id of
their own for what is used, as of an order or a job, gives that: then it counts once across restarts of the program, too.
"""

import http.client
import json
import random
import socket
import time
import urllib.parse
import uuid

SOCKET = "/run/usaged/usaged.sock"


class UsagedError(Exception):
    """What usaged said: a word for programs, a sentence, and often what to do."""

    def __init__(self, code, error, hint=None, status=None):
        super().__init__(error + (f"\nhint: {hint}" if hint else ""))
        self.code = code
        self.error = error
        self.hint = hint
        self.status = status


class NotReachable(UsagedError):
    """usaged did not answer, or is busy. The same may work later."""


class Refused(UsagedError):
    """This record is not taken, and will not be if it is sent again. `code` says why, as unknown_meter."""


class Usaged:
    """The daemon on this machine. May be shared by threads: each question has a connection of its own."""

    def __init__(self, socket_path=SOCKET, timeout=10, retry_for=60):
        """`timeout` and `retry_for` are in seconds: how long one answer may take, and until when it is asked again."""
        self.socket_path = socket_path
        self.timeout = timeout
        self.retry_for = retry_for

    def record(self, meter, quantity, id=None, at=None, source=None):
        """Records usage, and says whether it was "accepted" or a "duplicate" of one that was.

        `quantity` is a number or a decimal text above zero, `at` a time in RFC 3339. Raises Refused where it is not taken.
        """
        record = {"meter": meter, "quantity": str(quantity), "id": id or str(uuid.uuid4())}
        if at is not None:
            record["at"] = at
        if source is not None:
            record["source"] = source
        answer = self._ask("POST", "/v1/usage", record)["records"][0]
        if answer["outcome"] == "refused":
            raise Refused(answer["code"], answer["reason"])
        return answer["outcome"]

    def status(self):
        """How things stand, problems first."""
        return self._ask("GET", "/v1/status")

    def usage(self, month=None):
        """What was used in the current period, or in the one that holds the end of `month`, as "2026-11"."""
        query = "?" + urllib.parse.urlencode({"month": month}) if month else ""
        return self._ask("GET", "/v1/usage" + query)

    def _ask(self, method, path, body=None):
        """One question, asked again while nobody answers or usaged is busy."""
        end = time.monotonic() + self.retry_for
        pause = 0.1
        while True:
            try:
                return self._ask_once(method, path, body)
            except NotReachable as error:
                wait = getattr(error, "retry_after", None) or random.uniform(pause / 2, pause)
                if time.monotonic() + wait > end:
                    raise
            time.sleep(wait)
            pause = min(pause * 2, 10)

    def _ask_once(self, method, path, body):
        connection = http.client.HTTPConnection("localhost", timeout=self.timeout)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(self.timeout)
            connection.sock.connect(self.socket_path)
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except PermissionError as error:
            hint = "add this user to the group usaged, then log in again"
            raise UsagedError("forbidden", f"{self.socket_path}: {error.strerror}", hint) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            hint = "systemctl status usaged"
            raise NotReachable("not_reachable", f"no answer on {self.socket_path}: {error}", hint) from error
        finally:
            connection.close()
        if answer.status < 300:
            return said
        kind = NotReachable if answer.status == 503 else UsagedError
        error = kind(said["code"], said["error"], said.get("hint"), answer.status)
        error.retry_after = float(answer.getheader("Retry-After", 0))
        raise error
