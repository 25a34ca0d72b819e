"""The tree is RFC 6962's: the published roots come out, and proofs prove one place and no other."""

from __future__ import annotations

import pytest

from pumice.data.merkle import EMPTY, inclusion_proof, leaf_hash, root_of_proof, tree_levels, tree_root

# Certificate Transparency's reference leaves and roots (google/certificate-transparency, merkletree tests).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize(("count", "root"), ROOTS.items())
def test_published_roots(count: int, root: str) -> None:
    assert tree_root(map(leaf_hash, LEAVES[:count])).hex() == root


def test_a_proof_leads_to_the_root_from_its_own_place_alone() -> None:
    for count in range(1, 20):
        leaves = [leaf_hash(bytes([number])) for number in range(count)]
        levels = tree_levels(leaves)
        root = levels[-1][0]
        for index in range(count):
            path = inclusion_proof(levels, index)
            assert root_of_proof(leaves[index], index, count, path) == root
            for other in range(count):
                if other != index:
                    assert root_of_proof(leaves[index], other, count, path) != root
            assert root_of_proof(leaves[index], index, count, [*path, EMPTY]) is None
            assert not path or root_of_proof(leaves[index], index, count, path[:-1]) is None
    assert root_of_proof(EMPTY, 0, 0, []) is None


def test_a_node_is_no_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != tree_root([left, right])
