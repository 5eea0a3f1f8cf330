"""
Valkey's socket: whether somebody listens, and what it answers.
"""

import socket

from salt.exceptions import CommandExecutionError

SOCKET = "/run/valkey/valkey.sock"
TIMEOUT = 10  # seconds for one answer; the longest command of ours (ACL LOAD) takes milliseconds


def listens():
    """
    Return whether a process accepts connections on the socket.

    Raises CommandExecutionError if that cannot be found out, for want of rights above all.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT)
        try:
            client.connect(SOCKET)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise CommandExecutionError(f"{SOCKET}: {error.strerror or error}; valkey.* takes root") from error
    return True


def client(user, password):
    """
    Return a client that logs in when it is first used. Nothing is retried: a refusal is an answer.
    """
    import redis  # 0.1 s, which only runs that touch Valkey should pay
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(
        unix_socket_path=SOCKET,
        username=user,
        password=password,
        decode_responses=True,
        socket_timeout=TIMEOUT,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
    )


def accepts(client):
    """
    Return whether the server lets the client in.

    Raises CommandExecutionError if it fails for another reason than the login.
    """
    from redis.exceptions import AuthenticationError, RedisError

    try:
        return bool(client.ping())
    except AuthenticationError:
        return False
    except RedisError as error:
        raise CommandExecutionError(f"valkey at {SOCKET}: {error}") from error


def answer(client, *command):
    """
    Return the server's answer to a command.

    Raises CommandExecutionError with the first two words of the command and the server's own.
    """
    from redis.exceptions import RedisError

    try:
        return client.execute_command(*command)
    except RedisError as error:
        # Only the first words: what follows may be a password hash or a value.
        raise CommandExecutionError(f"valkey, {' '.join(map(str, command[:2]))}: {error}") from error
