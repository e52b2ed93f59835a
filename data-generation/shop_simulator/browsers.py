"""How browsers name themselves, by kind of device."""

from collections.abc import Mapping

_CHROME = tuple(range(118, 128))
_FIREFOX = tuple(range(119, 126))
_IOS = ("16_6", "17_1", "17_3", "17_4", "17_5")
_ANDROID_PHONES = ("Pixel 7", "Pixel 8", "SM-G991B", "SM-S918B", "SM-A546E")
_KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


def _desktop() -> list[str]:
    systems = ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64")
    chrome = [
        f"Mozilla/5.0 ({system}) {_KIT} Chrome/{version}.0.0.0 Safari/537.36"
        for system in systems
        for version in _CHROME
    ]
    edge = [
        f"Mozilla/5.0 ({systems[0]}) {_KIT} Chrome/{version}.0.0.0 Safari/537.36 Edg/{version}.0.0.0"
        for version in _CHROME[-5:]
    ]
    firefox = [
        f"Mozilla/5.0 ({systems[0]}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
        for version in _FIREFOX
    ]
    safari = [
        f"Mozilla/5.0 ({systems[1]}) {_SAFARI} Version/{major}.{minor} Safari/605.1.15"
        for major, minor in ((16, 6), (17, 1), (17, 3), (17, 4), (17, 5))
    ]
    return chrome + edge + firefox + safari


def _apple(device: str) -> list[str]:
    return [
        f"Mozilla/5.0 ({device}; CPU {'iPhone ' if device == 'iPhone' else ''}OS {version} like Mac OS X) "
        f"{_SAFARI} Version/{version.replace('_', '.')} Mobile/15E148 Safari/604.1"
        for version in _IOS
    ]


def _mobile() -> list[str]:
    android = [
        f"Mozilla/5.0 (Linux; Android {12 + number % 3}; {phone}) {_KIT} "
        f"Chrome/{version}.0.0.0 Mobile Safari/537.36"
        for number, phone in enumerate(_ANDROID_PHONES)
        for version in _CHROME[-6:]
    ]
    return _apple("iPhone") * 4 + android


def _tablet() -> list[str]:
    android = [
        f"Mozilla/5.0 (Linux; Android 13; SM-X710) {_KIT} Chrome/{version}.0.0.0 Safari/537.36"
        for version in _CHROME[-5:]
    ]
    return _apple("iPad") * 2 + android


USER_AGENTS: Mapping[str, list[str]] = {"desktop": _desktop(), "mobile": _mobile(), "tablet": _tablet()}
"""By kind of device; what stands several times is as many times as likely."""
