"""The body of a request: in Slack's form for a chat, or Attune's own for a server. Pure; called by `attune.notify`.

Mattermost and Rocket.Chat show `text` and leave `blocks` alone; Slack shows the blocks, and `text` where only one line fits.
"""

import json
from collections.abc import Mapping
from typing import Any

from attune.api import NotificationEvent, kinds
from attune.decide.notifications import templates
from attune.decide.notifications.facts import Facts, facts_of
from attune.decide.notifications.templates import LONGEST, TemplateProblem
from attune.decide.pointer import cut
from attune.observation import Notification

VERSION = "1"
SIGNS = {
    NotificationEvent.TRAINING_SUCCEEDED: "✅",
    NotificationEvent.TRAINING_FAILED: "❌",
    NotificationEvent.TEST_CONCLUDED: "⚖️",
    NotificationEvent.TEST_FAILED: "❌",
    NotificationEvent.TEST_CANCELLED: "🚫",
    NotificationEvent.PROMOTED: "⬆️",
    NotificationEvent.ROLLED_BACK: "⏪",
}
LOUD = ("all", "channel", "here", "everyone")
"""What calls everybody where it stands behind an @, wherever it comes from."""


def body_of(told: Notification) -> bytes:
    """JSON. A template that fails gives way to the built-in text, with a note."""
    facts = facts_of(told)
    made = _slack(told, facts) if told.target.type == "slack" else _generic(told, facts)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


def _generic(told: Notification, facts: Facts) -> dict[str, Any]:
    meta = told.about.metadata
    text, note = _text(told, _values(told, facts), f"[{_place(told)}] {facts.text}")
    return {
        "version": VERSION,
        "id": told.id,
        "event": told.event.value,
        "time": _time(told),
        "retriever": {"namespace": meta.namespace, "name": told.retriever},
        "object": {
            "apiVersion": kinds.API_VERSION,
            "kind": told.about.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "title": facts.title,
        "reason": facts.reason,
        "message": facts.message,
        "names": dict(facts.names),
        "numbers": dict(facts.numbers),
        "text": f"{text}\n{note}" if note else text,
    }


def _slack(told: Notification, facts: Facts) -> dict[str, Any]:
    safe = Facts(
        escaped(facts.title),
        escaped(facts.message),
        escaped(facts.reason),
        {name: escaped(value) for name, value in facts.names.items()},
        facts.numbers,
    )
    text, note = _text(told, _values(told, safe), f"{SIGNS[told.event]} [{_place(told)}] {safe.text}")
    shown = text if told.target.template and not note else _bold(told, safe)
    meta = told.about.metadata
    small = f"{told.about.kind} {meta.namespace}/{meta.name} · {_time(told)} · {told.id}"
    small += f"\n{escaped(note)}" if note else ""
    return {
        "text": f"{text}\n{escaped(note)}" if note else text,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": shown}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": small}]},
        ],
    }


def _bold(told: Notification, safe: Facts) -> str:
    title = f"{SIGNS[told.event]} *{_place(told)}: {safe.title}*"
    return cut(f"{title}\n{safe.message}" if safe.message else title, LONGEST)


def _text(told: Notification, values: Mapping[str, Any], built_in: str) -> tuple[str, str]:
    """The text, and why it is not that of the template."""
    if told.target.template is None:
        return cut(built_in, LONGEST), ""
    try:
        return templates.rendered(told.target.template, values), ""
    except TemplateProblem as problem:
        return cut(built_in, LONGEST), f"(the template of target {told.target.name} fails: {problem})"


def _values(told: Notification, facts: Facts) -> dict[str, Any]:
    meta = told.about.metadata
    place = {"namespace": meta.namespace, "retriever": told.retriever}
    return {**templates.values(facts), **place, "id": told.id, "event": told.event.value, "at": _time(told)}


def _place(told: Notification) -> str:
    return f"{told.about.metadata.namespace}/{told.retriever}"


def _time(told: Notification) -> str:
    return f"{told.at:%Y-%m-%dT%H:%M:%SZ}"


def escaped(text: str) -> str:
    """As Slack wants it: what a job said is no link, no mention, and calls nobody."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for name in LOUD:
        text = text.replace(f"@{name}", f"@\u200b{name}")
    return text
