"""What routes share: the server's parts, who asks, and how refusals look."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from radwright.serving.access import User
from radwright.serving.http.guard import RefusedError
from radwright.serving.http.wire import Failure
from radwright.serving.records import Role
from radwright.serving.server import Server


def server_of(request: Request) -> Server:
    """The parts of the server that answers."""
    server: Server = request.app.state.server
    return server


def user_of(request: Request) -> User:
    """Who asks; the guard has let nobody else through."""
    user: User = request.state.user
    return user


class Needs:
    """A route for users of a role, and those above it.

    Args:
        role: the least one.
    """

    def __init__(self, role: Role) -> None:
        self._role = role

    def __call__(self, request: Request) -> User:
        """The user, if it may.

        Raises:
            RefusedError: it may not.
        """
        user = user_of(request)
        if not user.may(self._role):
            raise RefusedError(403, "forbidden", f"this needs the role {self._role}; {user.name} is {user.role}")
        return user


ServerDep = Annotated[Server, Depends(server_of)]
UserDep = Annotated[User, Depends(user_of)]
Radiologist = Annotated[User, Depends(Needs("radiologist"))]
Admin = Annotated[User, Depends(Needs("admin"))]


def failures(*statuses: int, is_stream: bool = False) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of refusals, besides those that any route can give.

    Args:
        statuses: of the route's own.
        is_stream: the route's answers are no JSON, but its refusals are, as everywhere.
    """
    described: dict[str, Any] = {"model": Failure}
    if is_stream:
        described = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}}
    return {status: dict(described) for status in sorted({400, 401, 403, 422, *statuses})}
