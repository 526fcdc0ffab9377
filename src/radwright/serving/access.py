"""Who may do what: tokens with a role, kept as digests, and the sessions of browsers."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from radwright.errors import ConfigError, near
from radwright.serving import audit
from radwright.serving.database import Database, now, timestamp
from radwright.serving.records import ROLES, Role

LOCAL = "local"
"""The name of whoever needs no token: a user of this very machine."""
SESSION_HOURS = 12


@dataclass(frozen=True, slots=True)
class User:
    """Who asks.

    Attributes:
        name: of the token; ``LOCAL`` where none is needed.
        role: one of ``ROLES``.
    """

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this user may do what ``role`` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Access:
    """Tokens and sessions in a reading room's database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, name: str, role: str, *, actor: str = LOCAL) -> str:
        """A new token, shown this once: the database keeps its SHA-256 (a token has 256 random bits: no salt needed).

        Raises:
            ConfigError: no such role, an empty name, or one that has a token.
        """
        if role not in ROLES:
            raise ConfigError(f"role {role!r}: no such role{near(role, ROLES)}; there are {', '.join(ROLES)}")
        if not name.strip() or name in {LOCAL, "radwright"} or ":" in name:
            raise ConfigError(f"name {name!r}: give the person's name; it stands under what they sign")
        token = secrets.token_urlsafe(32)
        with self.database.transaction() as connection:
            known = connection.execute("SELECT revoked_at FROM token WHERE name = ?", (name,)).fetchone()
            if known and known["revoked_at"] is None:
                raise ConfigError(f"{name!r} has a token; revoke it first, if it is lost (radwright token revoke)")
            connection.execute("DELETE FROM token WHERE name = ?", (name,))
            connection.execute("INSERT INTO token VALUES (?, ?, ?, ?, NULL)", (_digest(token), name, role, now()))
            audit.append(connection, actor, "add token", name=name, role=role)
        return token

    def revoke(self, name: str, *, actor: str = LOCAL) -> None:
        """From now on the token and its sessions open nothing.

        Raises:
            ConfigError: nobody of this name has a token.
        """
        with self.database.transaction() as connection:
            changed = connection.execute(
                "UPDATE token SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (now(), name)
            ).rowcount
            if not changed:
                names = [row["name"] for row in self.tokens() if row["revoked_at"] is None]
                raise ConfigError(f"{name!r} has no token{near(name, names)}")
            connection.execute("DELETE FROM session WHERE token IN (SELECT digest FROM token WHERE name = ?)", (name,))
            audit.append(connection, actor, "revoke token", name=name)

    def tokens(self) -> list[dict[str, Any]]:
        """Name, role, created_at and revoked_at of every token."""
        rows = self.database.connection.execute(
            "SELECT name, role, created_at, revoked_at FROM token ORDER BY created_at"
        )
        return [dict(row) for row in rows]

    def has_tokens(self) -> bool:
        """Whether anyone has a token."""
        return self.database.connection.execute("SELECT 1 FROM token WHERE revoked_at IS NULL").fetchone() is not None

    def user_of(self, token: str) -> User | None:
        """Whose token this is; None of nobody's."""
        row = self.database.connection.execute(
            "SELECT name, role FROM token WHERE digest = ? AND revoked_at IS NULL", (_digest(token),)
        ).fetchone()
        return User(row["name"], row["role"]) if row else None

    def open_session(self, token: str) -> str | None:
        """A session of a browser for a token: a secret for its cookie; None of nobody's token."""
        user = self.user_of(token)
        if user is None:
            return None
        secret, until = secrets.token_urlsafe(32), datetime.now(UTC) + timedelta(hours=SESSION_HOURS)
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM session WHERE expires_at < ?", (now(),))
            connection.execute(
                "INSERT INTO session VALUES (?, ?, ?)", (_digest(secret), _digest(token), timestamp(until))
            )
            audit.append(connection, user.name, "sign in", session=_digest(secret))
        return secret

    def user_of_session(self, secret: str) -> User | None:
        """Whose session this is; None of nobody's, or when it has expired."""
        row = self.database.connection.execute(
            "SELECT name, role FROM session JOIN token ON token.digest = session.token "
            "WHERE session.digest = ? AND expires_at > ? AND revoked_at IS NULL",
            (_digest(secret), now()),
        ).fetchone()
        return User(row["name"], row["role"]) if row else None

    def close_session(self, secret: str) -> None:
        """End a session."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM session WHERE digest = ?", (_digest(secret),))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
