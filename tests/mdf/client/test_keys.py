"""`client.keys`: a key is named by its id, or by its token, whose secret stays here."""

from collections.abc import Callable

import pytest

from mdf.client import Client
from mdf.client.keys import id_of
from mdf.errors import MDFError
from services import keys
from services.installation import Installation

ID = "0193" * 8
SECRET = "Sec-ret_" * 5 + "xyz"


def test_a_token_at_hand_is_revoked_and_goes_no_further(
    serve: Callable, installation: Installation
) -> None:
    with installation.database.write() as session:
        _, root = keys.create(session, name="root", owner="anna", scopes=["admin"])
        leaked, token = keys.create(session, name="leaked", owner="anna", scopes=["read"])
    secret = token.split("_", 2)[2]
    served = serve()
    with Client(served.url, root) as client:
        renamed = client.keys.change(token, name="leaks")
        assert (renamed.id, renamed.name) == (leaked.id, "leaks")
        client.keys.revoke(token)
        (shown,) = [key for key in client.keys.iterate() if key.id == leaked.id]
        assert shown.revoked is not None
        with pytest.raises(MDFError, match="that is no key") as refusal:
            client.keys.revoke(secret)
    assert secret not in str(refusal.value)
    log = served.log.read_text()
    assert f"DELETE '/v1/api-keys/{leaked.id}' 204" in log
    assert secret not in log


@pytest.mark.parametrize(
    "given",
    [
        f"key_{ID}",
        f"mdf_{ID}_{SECRET}",
        f" mdf_{ID}_{SECRET}\n",
        f"mdf_{ID}_{SECRET[:7]}",
        f"mdf_{ID}",
        f"key_{ID}_{SECRET}",
    ],
)
def test_an_id_is_told_by_itself_and_by_its_token(given: str) -> None:
    assert id_of(given) == f"key_{ID}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        SECRET,
        f"df_{ID}_{SECRET}",
        f"{ID}_{SECRET}",
        f"mdf_{SECRET}",
        f"mdf_{ID}_{SECRET} mdf_{ID}_{SECRET}",
        f"key_{ID}/../{SECRET}",
    ],
)
def test_what_names_no_key_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(MDFError) as refusal:
        id_of(given)
    assert str(refusal.value) == (
        "that is no key: name it by its id, `key_…`, or its token, `mdf_…`"
    )
