"""Text for people: nothing in it moves the cursor, starts a new line or gives a secret away."""

import doctest
import os
import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli import console
from segearth_cli.console import shown, without_secrets

PLACES = ("{}", "/vsicurl/{}", "/vsizip//vsicurl/{}", "/vsizip/{{/vsicurl/{}}}/in/x.tif", "{}: cannot be read (404)")


def test_examples_hold():
    assert doctest.testmod(console).failed == 0


@pytest.mark.slow
@given(st.text())
def test_what_is_shown_is_one_line_without_control_characters(text):
    seen = shown(text)
    assert len(seen.splitlines()) <= 1
    assert not [c for c in seen if unicodedata.category(c) in ("Cc", "Cf", "Cs")]


@given(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name))
def test_any_name_of_a_file_can_be_shown(name):
    shown(os.fsdecode(name)).encode()


SCHEMES = ("http", "https", "s3", "gs", "ftp")
OWNERS = ("", "me:SECRET@", "SECRET@", "me:SEC@RET@SECRET@")
QUERIES = ("", "?sig=SECRET", "?a=1&X-Amz-Signature=SECRET%2F", "?SECRET")


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_of_a_url_is_left_and_the_rest_is(place):
    for scheme, owner, query in product(SCHEMES, OWNERS, QUERIES):
        text = place.format(f"{scheme}://{owner}host:80/a b/x.tif{query}")
        seen = without_secrets(text)
        assert "SECRET" not in seen, text
        assert f"{scheme}://host:80/a b/x.tif" in seen
        collapsed = without_secrets(text.replace("://", ":/"))  # as a Path has it
        assert "SECRET" not in collapsed or scheme not in ("http", "https", "s3", "gs"), text
        assert place.endswith("404)") <= seen.endswith(": cannot be read (404)")


def test_a_signed_path_of_gdal_shows_its_address_alone():
    path = "/vsicurl?header.Authorization=Bearer%20SECRET&url=https%3A%2F%2Fhost%2Fx.tif%3Fsig%3DSECRET"
    assert without_secrets(path) == "/vsicurl/https://host/x.tif"


@pytest.mark.parametrize("path", ["a?b.tif", "/data/me@home/x.tif", "C:\\x.tif", "zip:a@b.zip", "what? no.tif"])
def test_local_paths_stay_as_they_are(path):
    assert without_secrets(path) == path
