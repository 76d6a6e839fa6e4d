import pytest
from timm.data import ImageNetInfo

from dataset import DataError
from dataset.similarity import TABLE, least_similar, read_lsc, wu_palmer
from dataset.wordnet.derive import derive

WNIDS = sorted(ImageNetInfo().label_names())
TENCH, GOLDFISH, GREAT_WHITE_SHARK = WNIDS[:3]
SPIDER = "n01773157"  # black and gold garden spider, class 72
CHIHUAHUA, MALTESE, GOLDEN_RETRIEVER = "n02085620", "n02085936", "n02099601"


def test_the_table_has_every_class_and_all_its_ancestors():
    rows = [line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    wnids = [row[0] for row in rows]
    assert wnids == sorted(set(wnids)) and len(wnids) == 1860 and set(WNIDS) <= set(wnids)
    above = {hypernym for row in rows for hypernym in row[2:]}
    assert above <= set(wnids) and set(wnids) == above | set(WNIDS)
    assert [row[1] for row in rows if len(row) == 2] == ["entity.n.01"]


@pytest.mark.parametrize(
    ("a", "b", "depth", "steps"),
    [
        # Synsets from entity: entity, physical entity, object, whole, living thing, organism, animal (7), chordate,
        # vertebrate, aquatic vertebrate, fish (11), bony fish, teleost, soft-finned, cypriniform, cyprinid (16), tench.
        (TENCH, TENCH, 17, 0),
        (TENCH, GOLDFISH, 16, 1 + 1),
        # fish, cartilaginous fish, elasmobranch, shark, mackerel shark, great white shark
        (TENCH, GREAT_WHITE_SHARK, 11, 6 + 5),
        # animal, invertebrate, arthropod, arachnid, spider, black and gold garden spider
        (TENCH, SPIDER, 7, 10 + 5),
        # They meet in vertebrate, 8 above the tench; from the dog it is 7 straight up (toy dog, dog, canine, carnivore,
        # placental, mammal), but 6 through domestic animal, animal and down again over chordate.
        (TENCH, CHIHUAHUA, 9, 8 + 6),
    ],
)
def test_similarity_by_hand(a, b, depth, steps):
    assert wu_palmer(a, b) == wu_palmer(b, a) == 2 * depth / (2 * depth + steps)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (TENCH, GOLDFISH, 0.9411764705882353),
        (TENCH, GREAT_WHITE_SHARK, 0.6666666666666666),
        (TENCH, SPIDER, 0.4827586206896552),
        (TENCH, CHIHUAHUA, 0.5625),
        ("n02084071", "n02121620", 0.8571428571428571),  # dog and cat, also in NLTK's manual
        # equally low: consumer goods and clothing, springer spaniel and canine; the first by name is taken
        ("n02667093", "n02669723", 0.7272727272727273),
        ("n02102040", "n02102177", 0.6842105263157895),
        # canine is lower than the chihuahua and as low as the golden retriever, which is taken as itself
        (CHIHUAHUA, CHIHUAHUA, 0.8125),
        (GOLDEN_RETRIEVER, GOLDEN_RETRIEVER, 1.0),
        # substance and beverage, which are no classes: here it matters which is asked
        ("n00019613", "n07881800", 0.7692307692307693),
        ("n07881800", "n00019613", 0.6153846153846154),
    ],
)
def test_similarity_agrees_with_nltk(a, b, expected):
    # wn.synset_from_pos_and_offset("n", int(a[1:])).wup_similarity(...) of NLTK 3.9.1 and 3.10.4, whose
    # WordNetCorpusReader was given data.noun and the other files of WordNet 3.0
    assert wu_palmer(a, b) == expected


def test_similarity_is_symmetric_for_classes_and_within_its_bounds():
    some = WNIDS[::13]
    for a in some:
        for b in some:
            assert 0 < wu_palmer(a, b) == wu_palmer(b, a) <= 1


def test_a_class_with_one_hypernym_per_level_has_similarity_1_to_itself():
    assert [wu_palmer(wnid, wnid) for wnid in WNIDS[:80]] == [1.0] * 80


def test_the_first_hundred_classes_have_two_least_similar_ones():
    assert least_similar(WNIDS[:100]) == [0 if 69 <= index <= 86 else 72 for index in range(100)]


def test_the_lowest_index_wins_a_tie():
    # 72 to 78 are spiders, equally far from the tench; 0 and 1 are fishes, equally far from a spider
    assert least_similar([WNIDS[i] for i in (78, 75, 72, 1, 0)]) == [3, 3, 3, 0, 0]
    assert least_similar([WNIDS[i] for i in (0, 72, 75, 78, 1)]) == [1, 0, 0, 0, 1]


def test_a_class_is_never_its_own_least_similar_one():
    # Of the chihuahua and the Maltese dog each is as similar to the other as to itself, 26 / 32.
    assert wu_palmer(CHIHUAHUA, CHIHUAHUA) == wu_palmer(CHIHUAHUA, MALTESE) == 26 / 32
    assert least_similar([CHIHUAHUA, MALTESE]) == [1, 0]


def test_the_least_similar_classes_of_a_thousand():
    # As NLTK's own 1,000 x 1,000 similarities have it: 345 is the ox, 971 a bubble.
    expected = [345 if i in (919, 920, 966, 967, 968, 969, 971, 999) else 971 for i in range(1000)]
    assert least_similar(WNIDS) == expected


def test_classes_that_cannot_be_compared_are_an_error():
    with pytest.raises(DataError, match=r"class n99999999 is not in .*hypernyms.txt: .*--lsc FILE") as caught:
        least_similar([TENCH, "n99999999"])
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="n01440764 is the only class"):
        least_similar([TENCH])


NAMES = ["Black Swan", "Blue Jay", "Red Kite", "crane", "crane"]
GOOD = ["Red Kite\tBlack Swan", "Black Swan,Blue Jay", "", "1, 0", "3\tRed Kite", "4,2"]


@pytest.fixture
def lsc(tmp_path):
    """Reads a file of these lines."""
    file = tmp_path / "lsc.txt"

    def read(*lines, names=NAMES):
        file.write_bytes("\n".join(lines).encode())
        return read_lsc(file, names)

    return read


def test_a_file_names_classes_or_gives_their_indices(lsc):
    assert lsc(*GOOD) == [1, 0, 0, 2, 2]


def test_a_file_from_a_spreadsheet_is_read(lsc):
    assert lsc("\ufeffBlack Swan,1\r", "Blue Jay,0\r", "", names=NAMES[:2]) == [1, 0]


def test_names_take_precedence_over_indices_and_a_tab_over_commas(lsc):
    assert lsc("2\t0", "1\t2", "0\t1", names=["2", "1", "0"]) == [2, 0, 1]
    assert lsc("kite, red\tjay", "jay\tkite, red", names=["jay", "kite, red"]) == [1, 0]


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (1, "Red Kit\tBlack Swan", "unknown class 'Red Kit': give a class name or an index from 0 to 4"),
        (2, "Black Swan,5", "unknown class '5'"),
        (2, "Black Swan,-1", "unknown class '-1'"),
        (2, "Black Swan,", "unknown class ''"),
        (2, "0,Black Swan", "class 'Black Swan' is given as its own least similar class"),
        (4, "0,2", "class 'Black Swan' has a line already"),
        (5, "crane\tRed Kite", "'crane' is the name of classes 3 and 4: give the index"),
        (5, "3", "'3' is not two classes with a comma, a semicolon or a tab between"),
        (5, "3,1,2", "'3,1,2' is not two classes with a comma, a semicolon or a tab between"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(lsc, number, line, message):
    lines = [*GOOD[: number - 1], line, *GOOD[number:]]
    with pytest.raises(DataError) as caught:
        lsc(*lines)
    assert f"lsc.txt, line {number}: {message}" in str(caught.value) and "\n" not in str(caught.value)


def test_classes_without_a_line_are_an_error(lsc):
    with pytest.raises(DataError, match=r"lsc.txt has no line for class 4, 'crane': add one"):
        lsc(*GOOD[:-1])
    with pytest.raises(DataError, match=r"lsc.txt has no line for class 0, 'Black Swan' and 4 more: add one"):
        lsc("")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"--lsc .*none.txt cannot be read: No such file or directory"):
        read_lsc(tmp_path / "none.txt", NAMES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["Café,1\nMaki,0\n", "Café;Maki\r\n1;0\r\n\r\n \r\n", '"Café"\t"Maki"\n"Maki"\t"Café"']
)
def test_a_file_is_read_as_programs_save_it(tmp_path, encoding, text):
    (tmp_path / "lsc").write_bytes(text.encode(encoding))
    assert read_lsc(tmp_path / "lsc", ["Café", "Maki"]) == [1, 0]


def test_of_several_ways_to_divide_a_line_that_of_known_classes_counts(lsc):
    assert lsc("a;b,c", "c,a;b", names=["a;b", "c"]) == [1, 0]
    assert lsc('"kite, red",jay', 'jay,"kite, red"', names=["jay", "kite, red"]) == [1, 0]
    assert lsc('"x",y', 'y,"x"', names=['"x"', "y"]) == [1, 0]


DATA_NOUN = """\
  1 This software and database is being provided to you, the LICENSEE, by
00000001 03 n 01 entity 0 001 ~ 00000002 n 0000 | all there is
00000002 03 n 02 Jay 1 jaybird 0 003 @ 00000001 n 0000 #m 00000004 n 0000 ~i 00000003 n 0000 | a bird; "blue @ 1"
00000003 03 n 0b a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 k 0 003 @i 00000002 n 0000 + 9 v 0101 @ 00000001 n 0000 | one
00000004 03 n 01 flock 0 001 @ 00000001 n 0000 | not above the others
"""
INDEX_NOUN = """\
  1 This software and database is being provided to you, the LICENSEE, by
a n 1 2 @ @i 1 0 00000003
entity n 1 1 ~ 1 1 00000001
jay n 2 2 @ ~ 2 1 00000004 00000002
"""


def test_the_table_is_derived_from_wordnets_files(tmp_path):
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    (tmp_path / "index.noun").write_text(INDEX_NOUN)
    lines = derive(tmp_path, ["n00000003"]).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "n00000001 entity.n.01",
        "n00000002 jay.n.02 n00000001",
        "n00000003 a.n.01 n00000002 n00000001",
    ]


def test_a_folder_that_is_not_wordnet_is_an_error(as_user, tmp_path):
    done = as_user(f"python dataset/wordnet/derive.py {tmp_path}")
    assert done.returncode == 2 and f"{tmp_path} has no data.noun and index.noun" in done.stderr
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    (tmp_path / "index.noun").write_text(INDEX_NOUN)
    done = as_user(f"python dataset/wordnet/derive.py {tmp_path}")
    assert done.returncode == 2 and "data.noun has no synset 'n" in done.stderr
