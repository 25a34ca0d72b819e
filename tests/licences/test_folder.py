from __future__ import annotations

from pathlib import Path

import pytest

from pumice.licences import folder_licence, front_matter


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"README.md": "---\nlicense: llama2\ntags: [x]\n---\n# A\n"}, ("llama2", "README.md")),
        (
            {"README.md": "---\nlicense: other\nlicense_name: qwen-research\n---\n"},
            ("qwen-research", "README.md"),
        ),
        ({"README.md": "---\nlicense: [mit, cc-by-4.0]\n---\n"}, ("mit AND cc-by-4.0", "README.md")),
        ({"README.md": "# A\n\n- Licence: Apache-2.0, as the program\n"}, ("Apache-2.0", "README.md")),
        (
            {"README.md": "## License\n\nsee below", "config.json": '{"license": "mit"}'},
            ("mit", "config.json"),
        ),
        (
            {"LICENSE": "\n   Apache License\n   Version 2.0, January 2004\n   http://x.org\n\n   TERMS"},
            ("Apache-2.0", "LICENSE"),
        ),
        ({"LICENSE": "MIT License\n\nCopyright (c) 2020 A\n"}, ("MIT", "LICENSE")),
        (
            {"LICENSE.txt": "LLAMA 2 COMMUNITY LICENSE AGREEMENT\nLlama 2 Version Release Date: 2023\n"},
            ("LicenseRef-Llama-2", "LICENSE.txt"),
        ),
        ({"README.md": "---\nlicense: [\n---\n", "config.json": "{"}, None),
        ({"LICENSE": "You may look at it."}, None),
        ({}, None),
    ],
)
def test_what_a_folder_says_of_itself(
    tmp_path: Path, files: dict[str, str], found: tuple[str, str] | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert folder_licence(tmp_path) == found


def test_front_matter_is_the_block_at_the_top_and_nothing_else() -> None:
    assert front_matter("---\na: 1\n---\nb: 2\n") == {"a": 1}
    assert front_matter("text\n---\na: 1\n---\n") == {}
    assert front_matter("---\n- a\n---\n") == {}
