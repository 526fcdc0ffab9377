"""DICOM over the network: the only file that imports pynetdicom (extra ``serve``).

The library takes whatever length a peer announces, waits for ever on a silent one, and keeps what was not asked for;
the classes here bound all of that, so that no peer can take the listener down.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from socketserver import BaseServer
from typing import Any, cast

from radwright.errors import ConfigError, require
from radwright.imaging.dicom import decodable_syntaxes
from radwright.serving.intake import clean_uid
from radwright.serving.pacs.config import PacsConfig, Peer, Timeouts
from radwright.serving.pacs.listener import REPORT_CLASS, SOP_CLASSES, TRANSFER_SYNTAXES, Answer, Received, Status
from radwright.serving.pacs.part10 import IMPLEMENTATION_UID
from radwright.serving.pacs.sender import DeliveryError
from radwright.serving.pacs.told import tell

require("pynetdicom", extra="serve")  # says which extra brings it

import pydicom  # noqa: E402
from pynetdicom import AE, _config, evt  # noqa: E402
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer  # noqa: E402

# The library logs objects and calls; we tell what happened ourselves, without what might name a patient.
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").propagate = False
logging.getLogger("pynetdicom").addHandler(logging.NullHandler())

VERIFICATION = "1.2.840.10008.1.1"
MAX_PDU = 65_536
"""Longest piece of data that peers are asked to send."""
_LONGEST_PDU = 1_048_576
"""Longest piece that is read at all: an association request with many contexts is longer than a piece of data."""
_MOST_COMMAND_BYTES = 65_536
_MOST_PENDING = 2
"""Objects that a peer sent without waiting for answers; no window for more was agreed on."""
_SPARE_CONNECTIONS = 16
"""Connections above the associations: time for a rejection that the peer can read."""
_ACKNOWLEDGED = frozenset({0x0000, 0x0111, 0xB000, 0xB006, 0xB007})
"""Success; is there already (our UIDs are fixed); stored with changes. All mean that the PACS has it."""
Store = Callable[[Received], Answer]


class _BoundedSocket(AssociationSocket):
    """Reads a piece only of a sane length, and only within a time, however slowly it drips."""

    piece_s = 120.0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly so many bytes; fewer where the peer closes."""
        if nr_bytes > _LONGEST_PDU:
            raise OSError(f"a piece of {nr_bytes} bytes is announced")
        connection = cast(socket.socket, self.socket)
        until, read = time.monotonic() + self.piece_s, bytearray()
        while len(read) < nr_bytes:
            connection.settimeout(max(0.001, until - time.monotonic()))
            chunk = connection.recv(min(65_536, nr_bytes - len(read)))
            if not chunk:
                break
            read += chunk
            if time.monotonic() >= until:
                raise TimeoutError("a piece did not get complete in time")
        # The same limit for an answer that the peer does not take.
        connection.settimeout(self.piece_s)
        return read

    def _shutdown_socket(self) -> None:
        # The library leaves a socket open whose connection failed or is gone.
        with contextlib.suppress(Exception):
            cast(socket.socket, self.socket).shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            cast(socket.socket, self.socket).close()


def _bound(association: Any, piece_s: float) -> None:
    """Give an association's socket our limits."""
    bounded = association.dul.socket
    # The library makes it itself and has told its state machine: a second one would announce a second connection.
    bounded.__class__ = _BoundedSocket
    bounded.piece_s = piece_s


class _Handler(RequestHandler):
    def _create_association(self) -> Any:
        association = super()._create_association()
        _bound(association, cast(_Server, self.server).piece_s)
        return association


class _Server(ThreadedAssociationServer):
    """Refuses connections of unknown addresses and above a number, before anything is read."""

    piece_s = 120.0
    most_connections = 24
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is taken."""
        if self.networks and not _is_in(str(client_address[0]), self.networks):
            tell(
                "connection refused", level=logging.WARNING, address=client_address[0], why='"not in accept_addresses"'
            )
            return False
        if len(self.active_associations) >= self.most_connections:
            tell("connection refused", level=logging.WARNING, address=client_address[0], why='"too many"')
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks at once is none of ours to worry about."""
        tell("connection broke", level=logging.WARNING, address=client_address[0])

    def shutdown(self) -> None:
        """Take no more connections; those that are open go on."""
        BaseServer.shutdown(self)
        self.server_close()


def _is_in(address: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in networks)


class StorageServer:
    """Listens for C-STORE and C-ECHO of the peers that a config names.

    Args:
        config: who may send, where to listen, limits.
        store: what is done with an object.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, config: PacsConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._is_stopping = threading.Event()
        self._num_storing = 0
        self._counting = threading.Condition()
        ae = _ae(config.ae_title, config.timeouts)
        ae.maximum_pdu_size = MAX_PDU
        # Counted by us: the library counts connections too on which nothing was agreed yet, or never will be.
        ae.maximum_associations = 2 * (config.limits.max_associations + _SPARE_CONNECTIONS)
        ae.require_calling_aet = list(config.accept_from)
        ae.require_called_aet = True
        syntaxes = decodable_syntaxes(TRANSFER_SYNTAXES)
        for sop_class in SOP_CLASSES:
            ae.add_supported_context(sop_class, syntaxes)
        ae.add_supported_context(REPORT_CLASS)
        ae.add_supported_context(VERIFICATION)
        try:
            self._server = cast(
                _Server,
                ae.make_server(
                    (config.address, config.port),
                    evt_handlers=cast(Any, self._handlers()),
                    server_class=_Server,
                    request_handler=_Handler,
                ),
            )
        except OSError as error:
            raise ConfigError(
                f"address {config.address}, port {config.port}: cannot be listened on: {error.strerror or error}; "
                "is another listener running?"
            ) from error
        self._server.piece_s = config.timeouts.idle_s
        self._server.most_connections = config.limits.max_associations + _SPARE_CONNECTIONS
        self._server.networks = tuple(ipaddress.ip_network(text) for text in config.accept_addresses)
        self._thread = threading.Thread(target=partial(self._server.serve_forever, 0.1), name="listener", daemon=True)

    def start(self) -> None:
        """Listen, in threads of its own."""
        self._thread.start()

    def stop(self, *, grace_s: float) -> None:
        """Take no more connections and objects, finish those that are being stored, then close what is open.

        Args:
            grace_s: for answers to arrive and peers to end their associations by themselves.
        """
        self._is_stopping.set()
        self._server.shutdown()
        self._thread.join()
        with self._counting:
            self._counting.wait_for(lambda: self._num_storing == 0)
        until = time.monotonic() + grace_s
        while self._server.active_associations and time.monotonic() < until:
            time.sleep(0.02)
        for association in self._server.active_associations:
            # Its reactor ends by itself once the connection is gone; an abort would wait for a peer that is stuck.
            association.dul.socket._shutdown_socket()  # type: ignore[union-attr]

    def _handlers(self) -> list[tuple[Any, ...]]:
        return [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_PDU_RECV, self._on_piece),
            (evt.EVT_ESTABLISHED, lambda event: self._tell("association", event, logging.DEBUG)),
            (evt.EVT_REJECTED, self._tell_rejected),
            (evt.EVT_ABORTED, lambda event: self._tell("association aborted", event, logging.WARNING)),
        ]

    def _tell(self, what: str, event: Any, level: int) -> None:
        sender = self._known(str(event.assoc.requestor.ae_title or "").strip())
        tell(what, level=level, sender=sender, address=_address(event))

    def _tell_rejected(self, event: Any) -> None:
        request = event.assoc.requestor.primitive
        calling, called = (
            str(getattr(request, name, "") or "").strip() for name in ("calling_ae_title", "called_ae_title")
        )
        alike = next((each for each in self._config.accept_from if each.casefold() == calling.casefold()), None)
        if called != self._config.ae_title:
            why = f"it calls this node by another AE title than {self._config.ae_title}"
        elif alike is not None and alike != calling:
            why = f"its AE title is {alike} but for upper and lower case"
        else:
            why = "its AE title is not in accept_from"
        self._tell_why(event, calling, why)

    def _tell_why(self, event: Any, calling: str, why: str) -> None:
        sender, address = self._known(calling), _address(event)
        tell("association rejected", level=logging.WARNING, sender=sender, address=address, why=f'"{why}"')

    def _known(self, title: str) -> str:
        """An AE title as the log may show it: one that nobody knows can hold anything, a patient's name too."""
        return title if title in self._config.accept_from else "unknown"

    def _on_request(self, event: Any) -> None:
        agreed = [each for each in self._server.active_associations if each.is_established]
        if len(agreed) >= self._config.limits.max_associations:
            self._tell_why(event, str(event.assoc.requestor.ae_title or ""), "too many at once")
            # Rejected for the moment (PS3.8 9.3.4): the local limit is exceeded.
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)
            event.assoc.kill()

    def _on_piece(self, event: Any) -> None:
        """Hold what a peer may make us keep: the object that is coming in, its command, objects behind it."""
        dimse = event.assoc.dimse
        if dimse.msg_queue.qsize() > _MOST_PENDING:
            event.assoc.abort()
            return
        if (message := dimse.message) is None:
            return
        if message.encoded_command_set.tell() > _MOST_COMMAND_BYTES:
            event.assoc.abort()
        elif message.data_set is not None and message.data_set.tell() > self._config.limits.max_bytes + 1:
            # Cut but received to its end, so that the sender gets an answer and its other objects go on.
            message.data_set.seek(self._config.limits.max_bytes + 1)
            message.data_set.truncate()

    def _on_store(self, event: Any) -> Any:
        with self._counting:
            self._num_storing += 1
        try:
            answer = self._answer(event)
        finally:
            with self._counting:
                self._num_storing -= 1
                self._counting.notify_all()
        if answer.status == Status.SUCCESS:
            return int(answer.status)
        told = pydicom.Dataset()
        told.Status, told.ErrorComment = int(answer.status), answer.comment[:64]
        return told

    def _answer(self, event: Any) -> Answer:
        if self._is_stopping.is_set():
            return Answer(Status.NO_RESOURCES, "the receiver is shutting down, try again later")
        stored = event.assoc.__dict__.setdefault("_radwright_objects", 0) + 1
        event.assoc.__dict__["_radwright_objects"] = stored
        if stored > self._config.limits.max_objects:
            return Answer(Status.NO_RESOURCES, "too many objects on one association, open another one")
        request = event.request
        return self._store(
            Received(
                dataset=request.DataSet.getvalue(),
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                calling_ae=str(event.assoc.requestor.ae_title).strip(),
            )
        )


def deliver(peer: Peer, data: bytes, *, calling: str, timeouts: Timeouts) -> None:
    """Send a DICOM file by C-STORE; returns once the peer has acknowledged it.

    Raises:
        DeliveryError: it cannot be reached, does not take objects of this class, or answers with a failure.
    """
    dataset = pydicom.dcmread(io.BytesIO(data))
    ae = _ae(calling, timeouts)
    ae.add_requested_context(dataset.SOPClassUID, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
    try:
        # The first event of an association that we ask for, before it connects.
        bound = (evt.EVT_ACSE_SENT, lambda event: _bound(event.assoc, timeouts.idle_s))
        association = ae.associate(peer.host, peer.port, ae_title=peer.ae_title, evt_handlers=[bound])
    except (OSError, RuntimeError) as error:  # a host name that is not known
        raise DeliveryError(f"cannot be reached: {type(error).__name__}", is_reachable=False) from error
    if not association.is_established:
        why = "the association was rejected" if association.is_rejected else "cannot be reached"
        raise DeliveryError(why, is_reachable=False)
    try:
        status = association.send_c_store(dataset)
    except (ValueError, RuntimeError) as error:  # no context accepted; the association is gone
        raise DeliveryError("does not take structured reports of this class", is_reachable=True) from error
    finally:
        if association.is_established:
            association.release()
    code = status.get("Status")
    if code is None:
        raise DeliveryError("gave no answer", is_reachable=False)
    if code not in _ACKNOWLEDGED:
        raise DeliveryError(f"answered with status {code:04X}", is_reachable=True)
    if code:
        uid = clean_uid(str(dataset.SOPInstanceUID))
        tell("acknowledged with a warning", level=logging.WARNING, report=uid, to=peer.ae_title, status=f"{code:04X}")


def _address(event: Any) -> str:
    """Where a peer is."""
    info = event.assoc.requestor.address_info
    return str(info.address) if info else "unknown"


def _ae(title: str, timeouts: Timeouts) -> AE:
    ae = AE(ae_title=title)
    ae.implementation_class_uid = IMPLEMENTATION_UID
    ae.implementation_version_name = "RADWRIGHT"
    ae.connection_timeout, ae.acse_timeout = timeouts.connect_s, timeouts.associate_s
    ae.dimse_timeout, ae.network_timeout = timeouts.reply_s, timeouts.idle_s
    return ae
