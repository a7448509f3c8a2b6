"""A Firefox profile that talks to nobody on its own, and otherwise behaves as a sharer's does.

Nothing here touches how requests are made: speculative connections, DNS prefetching and caches stay as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path

Preference = bool | int | str

SILENT: Mapping[str, Preference] = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.discovery.enabled": False,
    "browser.ml.enable": False,
    "browser.newtabpage.enabled": False,
    "browser.newtabpage.activity-stream.testing.shouldInitializeFeeds": False,
    "browser.region.network.url": "",
    "browser.region.update.enabled": False,
    "browser.safebrowsing.blockedURIs.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.safebrowsing.provider.google4.updateURL": "",
    "browser.safebrowsing.provider.google5.updateURL": "",
    "browser.safebrowsing.provider.mozilla.updateURL": "",
    "browser.search.update": False,
    "browser.sessionstore.resume_from_crash": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "browser.topsites.contile.enabled": False,
    "browser.topsites.useRemoteSetting": False,
    "browser.translations.enable": False,
    "browser.urlbar.suggest.searches": False,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "datareporting.usage.uploadEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.blocklist.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "geo.provider.network.url": "",
    "identity.fxaccounts.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "messaging-system.rsexperimentloader.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.trr.mode": 5,
    "nimbus.rollouts.enabled": False,
    "security.certerrors.mitm.priming.enabled": False,
    "security.notification_enable_delay": 0,
    "security.remote_settings.crlite_filters.enabled": False,
    "security.remote_settings.intermediates.enabled": False,
    "services.settings.loglevel": "off",
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "termsofuse.bypassNotification": True,
    "toolkit.telemetry.server": "",
    "toolkit.telemetry.unified": False,
}

UNSIGNED: Mapping[str, Preference] = {"xpinstall.signatures.required": False, "extensions.autoDisableScopes": 0}
"""Lets the build run before a store has signed it."""

HEARD: Mapping[str, Preference] = {
    "browser.dom.window.dump.enabled": True,
    "devtools.console.stdout.content": True,
    "devtools.console.stdout.chrome": False,
}
"""What extensions write to the console appears on standard output."""


def write_profile(folder: Path, extension_id: str, uuid: str, more: Mapping[str, Preference]) -> None:
    """Write the preferences of a profile, which may exist already."""
    folder.mkdir(parents=True, exist_ok=True)
    preferences: dict[str, Preference] = {
        **SILENT,
        **UNSIGNED,
        **HEARD,
        "extensions.webextensions.uuids": json.dumps({extension_id: uuid}),
        **more,
    }
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (folder / "user.js").write_text("".join(lines))
