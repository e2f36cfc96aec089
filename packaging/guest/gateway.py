"""usage: gateway.py PORT NAME UPSTREAM CERTIFICATES

A proxy that takes CONNECT, and behind it the server NAME, which ends TLS with CERTIFICATES/server.crt and hands what
comes through on to UPSTREAM. Prints each CONNECT."""

import socket
import ssl
import sys
import threading

port, name, upstream, certificates = sys.argv[1:]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(f"{certificates}/server.crt", f"{certificates}/server.key")


def pour(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(caller):
    with caller:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = caller.recv(4096)
            if not piece:
                return
            head += piece
        request = head.split(b"\r\n", 1)[0].decode()
        print(request, flush=True)
        if not request.startswith(f"CONNECT {name}:443 "):
            caller.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            secured = tls.wrap_socket(caller, server_side=True)
        except (ssl.SSLError, OSError):
            return
        host, upstream_port = upstream.rsplit(":", 1)
        with secured, socket.create_connection((host, int(upstream_port))) as server:
            back = threading.Thread(target=pour, args=(server, secured), daemon=True)
            back.start()
            pour(secured, server)
            back.join()


with socket.create_server(("127.0.0.1", int(port))) as listener:
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
