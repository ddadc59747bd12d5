"""What is known of well-known mail services and servers: where they are, and what they want.

The one table: the MailEndpoint's ``preset``, its documentation and its messages come from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["DEFAULT_CONNECTIONS", "PRESETS", "Preset", "PresetInfo"]

DEFAULT_CONNECTIONS: Final = 4
"""To one server at once, for one mailbox. Measured: a second and a fourth connection pay, more
hardly do; and servers that allow fewer than five at a time have a preset."""


_MB: Final = 10**6


class Preset(StrEnum):
    """A mail service, or a server software."""

    GENERIC = "Generic"
    GMAIL = "Gmail"
    MICROSOFT_365 = "Microsoft365"
    OUTLOOK_COM = "OutlookCom"
    YAHOO = "Yahoo"
    ICLOUD = "ICloud"
    FASTMAIL = "Fastmail"
    ZOHO = "Zoho"
    NETEASE = "NetEase"
    EXCHANGE = "Exchange"
    DOVECOT = "Dovecot"
    CYRUS = "Cyrus"
    COURIER = "Courier"
    ZIMBRA = "Zimbra"
    DOMINO = "Domino"
    KERIO = "Kerio"


@dataclass(frozen=True, slots=True)
class PresetInfo:
    """One row of the table."""

    preset: Preset
    title: str
    host: str | None = None
    """Where the service is; None where everyone has a server of their own."""
    note: str = ""
    """What to know before the first login, for people; empty if nothing is special."""
    connections: int = DEFAULT_CONNECTIONS
    """How many connections a run has at most; well below what the server allows, as the users'
    own programs count too."""
    download_bytes_per_day: int | None = None
    """What is read from one mailbox within 24 hours at most."""
    upload_bytes_per_day: int | None = None
    """What is stored in one mailbox within 24 hours at most."""
    limits_note: str = ""
    """What the service says of its limits, and where."""


def _rows() -> tuple[PresetInfo, ...]:
    p = Preset
    return (
        PresetInfo(p.GENERIC, "any IMAP server"),
        PresetInfo(
            p.GMAIL,
            "Gmail, Google Workspace",
            "imap.gmail.com",
            "the account's own password is refused: use an app password (needs 2-step "
            "verification) or OAuth2 with the scope https://mail.google.com/; IMAP can be "
            "switched off for a user or a domain",
            connections=8,
            download_bytes_per_day=2500 * _MB,
            upload_bytes_per_day=500 * _MB,
            limits_note="2,500 MB a day down and 500 MB up by IMAP, 15 connections (Google "
            "Workspace Admin Help on Gmail bandwidth limits); trial and free accounts may have "
            "less",
        ),
        PresetInfo(
            p.MICROSOFT_365,
            "Microsoft 365, Exchange Online",
            "outlook.office365.com",
            "passwords are refused: OAuth2 only (XOAUTH2), for a whole tenant with the application "
            "permission IMAP.AccessAsApp and access to each mailbox; IMAP can be switched off for "
            "a mailbox",
            limits_note="no numbers are published: the server says how long to wait, which is "
            "obeyed; about 4 messages a second are known to pass without that",
        ),
        PresetInfo(
            p.OUTLOOK_COM,
            "Outlook.com, Hotmail",
            "outlook.office365.com",
            "passwords and app passwords are refused: OAuth2 of the user only; IMAP must be "
            "switched on in the mailbox's settings",
            limits_note="as Microsoft 365",
        ),
        PresetInfo(
            p.YAHOO,
            "Yahoo Mail",
            "imap.mail.yahoo.com",
            "use an app password; not more than 10,000 messages of a folder are shown here",
            connections=3,
            limits_note="about 5 connections, not documented by Yahoo",
        ),
        PresetInfo(
            p.ICLOUD,
            "iCloud Mail",
            "imap.mail.me.com",
            "use an app-specific password",
            connections=2,
            limits_note="about 5 connections, not documented by Apple; those who read much are "
            "slowed down",
        ),
        PresetInfo(
            p.FASTMAIL,
            "Fastmail",
            "imap.fastmail.com",
            "use an app password; in label mode one mail is shown in several folders",
        ),
        PresetInfo(
            p.ZOHO,
            "Zoho Mail",
            "imap.zoho.com",
            "IMAP is off by default, and folders can be hidden from it; use an app password with "
            "two-factor login; domains of one's own have the host imappro.zoho.com, other regions "
            "end in .eu, .in or .com.au",
        ),
        PresetInfo(
            p.NETEASE,
            "NetEase 163",
            "imap.163.com",
            'IMAP must be switched on; "Unsafe Login" is the answer to programs that do not give '
            "their name",
        ),
        PresetInfo(
            p.EXCHANGE,
            "Exchange Server 2003 to 2019",
            note="the IMAP services are off by default; an administrator who opens the mailboxes "
            'of others needs FullAccess and a mailbox of their own; "User is authenticated but '
            'not connected" is a wrong password or a missing right',
        ),
        PresetInfo(
            p.DOVECOT,
            "Dovecot (mailcow, cPanel, Plesk, iRedMail)",
            note='master users log in as "user*master" with the master\'s password; a user may '
            "have 10 connections from one address by default",
            limits_note="mail_max_userip_connections is 10 by default (Dovecot's documentation)",
        ),
        PresetInfo(
            p.CYRUS,
            "Cyrus IMAP (Kolab)",
            note="administrators open the mailboxes of others by authorizationIdentity with PLAIN, "
            "over TLS, and need rights on each",
        ),
        PresetInfo(
            p.COURIER,
            "Courier IMAP",
            note="not more than 4 connections from one address by default",
            connections=2,
            limits_note="MAXPERIP is 4 by default, for all mailboxes together that are copied from "
            "one address (Courier's imapd configuration)",
        ),
        PresetInfo(
            p.ZIMBRA,
            "Zimbra, Carbonio",
            note="IMAP must be on in the class of service; administrators open the mailboxes of "
            "others by authorizationIdentity",
        ),
        PresetInfo(
            p.DOMINO,
            "HCL Domino",
            note="IMAP must be enabled for each mail file; administrators cannot open the "
            "mailboxes of others",
        ),
        PresetInfo(
            p.KERIO,
            "Kerio Connect",
            note="administrators open the mailboxes of others only where X-MASTERAUTH is enabled",
        ),
    )


PRESETS: Final = MappingProxyType({row.preset: row for row in _rows()})
"""All presets, in the order of the documentation."""
