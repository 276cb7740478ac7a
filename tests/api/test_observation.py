"""What is noted of requests."""

import socket
import time

from starlette.testclient import TestClient

from tests.waiting import wait_until


def test_a_client_that_leaves_in_the_middle_of_a_form_is_no_fault(serve) -> None:
    served = serve()
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        time.sleep(0.3)
    wait_until(lambda: "the client is gone" in served.log.read_text(), told=served.log.read_text)
    told = served.log.read_text()
    assert "Traceback" not in told
    assert " 500 " not in told


def test_a_request_keeps_the_id_that_it_brings(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
