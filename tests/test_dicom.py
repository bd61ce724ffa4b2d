import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit
from vindr_tree import compressed, picture, write_dicom

from raremix.data import dicom
from raremix.data.dicom import decode
from raremix.data.pixels import UnreadableError


@pytest.fixture
def read(tmp_path):
    def _read(pixels, window="header", **tags):
        write_dicom(tmp_path / "x.dicom", pixels, **tags)
        return decode((tmp_path / "x.dicom").read_bytes(), window)

    return _read


def test_window_maps_its_ends_to_black_and_white(read):
    pixels = np.array([[0, 1000], [2000, 4000]])
    grey, _ = read(pixels, WindowCenter=1500, WindowWidth=1001)
    assert grey[0, 0] == 0
    assert grey[1, 1] == 255
    assert grey[1, 0] == 255
    assert grey[0, 1] == pytest.approx(0, abs=0.3)


def test_a_window_wider_than_the_pixels_leaves_them_in_its_middle(read):
    grey, _ = read(np.array([[1000, 3000]]), WindowCenter=2000, WindowWidth=8001)
    assert grey[0] == pytest.approx([255 * 0.375, 255 * 0.625], abs=0.1)


def test_rescale_comes_before_the_window(read):
    plain, _ = read(picture(0), WindowCenter=2000, WindowWidth=2001)
    scaled, _ = read(picture(0), WindowCenter=4100, WindowWidth=4001, RescaleSlope=2, RescaleIntercept=100)
    assert np.abs(plain - scaled).max() < 0.2


def test_without_a_window_percentiles_are_black_and_white(read):
    pixels = np.full((100, 100), 500)
    pixels[50:] = 900
    pixels[0, 0], pixels[-1, -1] = 0, 4000
    grey, _ = read(pixels)
    assert grey[10, 10] == 0
    assert grey[60, 60] == 255


def test_percentiles_take_no_notice_of_the_header_s_window(read):
    narrow = {"WindowCenter": 10, "WindowWidth": 2}
    grey, _ = read(picture(0), "percentiles", **narrow)
    assert np.array_equal(grey, read(picture(0))[0])
    assert not np.array_equal(grey, read(picture(0), **narrow)[0])
    with pytest.raises(UnreadableError, match="same value"):
        read(np.full((8, 8), 9), "percentiles")


def test_a_falling_slope_turns_the_picture_before_the_window_sees_it(read):
    window = {"WindowCenter": 2047.5, "WindowWidth": 3001}
    turned, _ = read(4095 - picture(0), RescaleSlope=-1, RescaleIntercept=4095, **window)
    assert turned == pytest.approx(read(picture(0), **window)[0], abs=0.1)


WINDOW = {"WindowCenter": 400, "WindowWidth": 301}


@pytest.mark.parametrize(
    ("least", "tags"),
    [
        (0, {}),
        (0, WINDOW),
        (0, WINDOW | {"VOILUTFunction": "SIGMOID"}),
        (0, WINDOW | {"kind": "MONOCHROME1"}),
        (0, {"kind": "MONOCHROME1"}),
        (100, WINDOW | {"RescaleSlope": -1.5, "RescaleIntercept": 900}),
        (-400, WINDOW | {"bits": 16, "PixelRepresentation": 1}),
        (-400, {"bits": 16, "PixelRepresentation": 1}),
        (64_600, {"bits": 16, "WindowCenter": 65_000, "WindowWidth": 301}),
    ],
    ids=str,
)
def test_what_is_done_to_grey_levels_is_what_would_be_done_to_pixels(read, monkeypatch, least, tags):
    pixels = least + np.random.default_rng(0).integers(0, 900, (75, 83))  # more pixels than levels
    looked_up, _ = read(pixels, **tags)
    with monkeypatch.context() as by_pixel:
        by_pixel.setattr(dicom, "_levels", np.ravel)
        assert np.array_equal(looked_up, read(pixels, **tags)[0])
    assert looked_up.shape == pixels.shape
    assert len(np.unique(looked_up)) > 100


def test_monochrome1_shows_the_same_as_its_inverse_in_monochrome2(read):
    window = {"WindowCenter": 2047.5, "WindowWidth": 4096}
    plain, _ = read(picture(0), **window)
    inverse, _ = read(4095 - picture(0), kind="MONOCHROME1", **window)
    assert plain == pytest.approx(inverse, abs=0.1)
    assert plain[-1, -1] > 200


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_depth_does_not_change_the_picture(read, bits):
    top = 2**bits - 1
    grey, _ = read(
        np.array([[0, top // 2], [top // 4, top]]), bits=bits, WindowCenter=(top + 1) / 2, WindowWidth=top + 1
    )
    assert grey.ravel() == pytest.approx([0, 127.5, 63.75, 255], abs=0.3)


def test_facts_are_the_known_words_and_numbers_only(read):
    _, facts = read(
        picture(0), PatientID="p7", PatientName="Doe^Jane", ViewPosition="AP", PatientSex="F", ExposureIndex="312.5",
        BodyPartThickness="241", DistanceSourceToDetector="1800", ImageComments="Tubes no; leads, PACEMAKER, Jane Doe",
    )  # fmt: skip
    assert facts.pop("order")
    assert facts == {
        "patient_id": "p7", "view": "AP", "sex": "F", "exposure_index": "312.5", "body_thickness": "241",
        "source_distance": "1800", "devices": "pacemaker|leads",
    }  # fmt: skip


def test_order_sorts_by_date_then_time_then_number(read):
    studies = [
        ("20200101", "093000.5", "1"),
        ("20200101", "183000", "1"),
        ("20200102", "0700", "2"),
        ("20200102", "0700", "10"),
    ]
    orders = [read(picture(0), StudyDate=d, StudyTime=t, StudyID=n)[1]["order"] for d, t, n in studies]
    assert orders == sorted(orders)
    assert len(set(orders)) == 4


def test_an_empty_header_has_empty_facts(read):
    _, facts = read(picture(0), ViewPosition="LATERAL", PatientSex="O")
    assert {value for name, value in facts.items() if name != "order"} == {""}


def test_frames_and_flat_images_are_refused_with_a_reason(read):
    with pytest.raises(UnreadableError, match="3 frames"):
        read(np.stack([picture(0)] * 3))
    with pytest.raises(UnreadableError, match="same value"):
        read(np.full((8, 8), 9), WindowCenter=5, WindowWidth=10)
    with pytest.raises(UnreadableError, match="colour image"):
        read(picture(0), kind="PALETTE COLOR")


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "MONOCHROME2"])
def test_three_samples_a_pixel_are_refused_even_if_all_are_the_same_grey(read, tmp_path, kind):
    samples = np.repeat((picture(0) >> 4).astype(np.uint8)[..., None], 3, axis=2)
    with pytest.raises(UnreadableError, match=rf"^a colour image \({kind}\); only grey radiographs are read$"):
        read(
            samples[..., 0], kind=kind, bits=8, BitsAllocated=8, SamplesPerPixel=3, PlanarConfiguration=0,
            PixelData=samples.tobytes(),
        )  # fmt: skip
    assert dcmread(tmp_path / "x.dicom").pixel_array.shape == samples.shape, "pydicom reads it"


LOSSLESS = ("RLELossless", "JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")
LOSSY = ("JPEGLSNearLossless", "JPEG2000")


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY])
def test_compression_does_not_change_the_picture(read, tmp_path, syntax):
    plain, known = read(picture(3, 64, 48), PatientID="p1", WindowCenter=2000, WindowWidth=4000)
    content = compressed(tmp_path / "x.dicom", syntax)
    assert getattr(dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID, "is_compressed", False)
    grey, facts = decode(content, "header")
    assert facts | {"order": ""} == known | {"order": ""}, "gdcm adds a date"
    assert np.abs(grey - plain).max() <= (0 if syntax in LOSSLESS else 3)


def test_a_compression_that_no_library_reads_is_said(read, tmp_path):
    read(picture(3))
    with pytest.raises(RuntimeError, match="GDCM does not support 'JPEG Extended' for samples with 12-bit precision"):
        decode(compressed(tmp_path / "x.dicom", "JPEGExtendedProcess2_4"), "header")


def test_a_lossy_jpeg_of_eight_bits_is_read(read, tmp_path):
    pixels = picture(3, 64, 48) >> 4
    plain, _ = read(pixels, bits=8)
    header, stream = dcmread(tmp_path / "x.dicom"), io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG", quality=95)
    header.BitsAllocated = 8
    header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    header.PixelData = encapsulate([stream.getvalue()])
    header["PixelData"].VR = "OB"
    header.save_as(tmp_path / "y.dicom")
    grey, _ = decode((tmp_path / "y.dicom").read_bytes(), "header")
    assert np.abs(grey - plain).max() < 6


@pytest.mark.parametrize("bits", [8, 10])
def test_few_bits_stored_in_sixteen_are_read(read, bits):
    ramp = np.linspace(0, 2**bits - 1, 48 * 40).reshape(48, 40).astype(np.uint16)
    grey, _ = read(ramp, bits=bits, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    assert np.abs(grey.ravel() - np.linspace(0, 255, 48 * 40)).max() < 2


def table_of(name, entries, bits):
    """A look-up table of ``entries`` from stored value 0 on, as the sequence ``name`` has it."""
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, bits]
    item.LUTData = np.asarray(entries, "<u2").tobytes()
    return {name: Sequence([item])}


def test_a_voi_table_goes_before_the_window(read):
    squared = np.arange(4096) ** 2 // 4095
    grey, _ = read(picture(3), WindowCenter=1, WindowWidth=2, **table_of("VOILUTSequence", squared, 12))
    expected = squared[picture(3)]
    low, high = expected.min(), expected.max()
    assert np.abs(grey - 255 * (expected - low) / (high - low)).max() < 0.1


def test_a_voi_table_that_falls_turns_the_picture(read):
    rising, falling = np.arange(4096), np.arange(4095, -1, -1)
    (plain, _), (turned, _) = (read(picture(3), **table_of("VOILUTSequence", of, 12)) for of in (rising, falling))
    assert np.abs(turned - (255 - plain)).max() < 0.1


@pytest.mark.parametrize(
    ("centre", "width"),
    [(60000, 100), (-9000, 10), (2000, 0), (2000, 0.5), ([1, 2], [0, 100]), (None, 400), (2000, None), ("", "")],
)
def test_a_window_that_shows_nothing_gives_way_to_percentiles(read, centre, width):
    plain, _ = read(picture(3))
    grey, _ = read(picture(3), WindowCenter=centre, WindowWidth=width)
    assert (grey == plain).all()


def test_a_voi_table_that_leaves_one_grey_gives_way_to_percentiles(read):
    plain, _ = read(picture(3))
    grey, _ = read(picture(3), **table_of("VOILUTSequence", np.full(4096, 7), 12))
    assert (grey == plain).all()


def test_of_several_windows_the_first_is_taken(read):
    plain, _ = read(picture(3), WindowCenter=2000, WindowWidth=3000)
    grey, _ = read(picture(3), WindowCenter=[2000, 500], WindowWidth=[3000, 100])
    assert (grey == plain).all()


def test_a_picture_that_tells_no_polarity_is_refused(read, tmp_path):
    read(picture(3))
    header = dcmread(tmp_path / "x.dicom")
    header.PhotometricInterpretation = ""
    for _ in range(2):
        header.save_as(tmp_path / "y.dicom")
        with pytest.raises(UnreadableError, match=r"^no PhotometricInterpretation, so dense may be white or black$"):
            decode((tmp_path / "y.dicom").read_bytes(), "header")
        header.pop("PhotometricInterpretation", None)


def test_a_modality_table_comes_before_the_window(read):
    halved = np.arange(4096) // 2
    table = table_of("ModalityLUTSequence", halved, 16) | {"WindowCenter": 1024, "WindowWidth": 2048}
    table["ModalityLUTSequence"][0].ModalityLUTType = "US"
    plain, _ = read(picture(3), WindowCenter=2048, WindowWidth=4096)
    grey, _ = read(picture(3), **table)
    assert np.abs(grey - plain).max() < 1


def test_signed_pixels_keep_their_sign(read):
    pixels = np.linspace(-2000, 2000, 48 * 40).reshape(48, 40).astype(np.int16)
    grey, _ = read(pixels.view(np.uint16), bits=16, PixelRepresentation=1, WindowCenter=0.5, WindowWidth=4001)
    assert grey[0, 0] == pytest.approx(0, abs=0.1)
    assert grey[-1, -1] == pytest.approx(255, abs=0.1)
    assert (np.diff(grey.ravel()) >= 0).all()


def test_what_would_decompress_to_gigabytes_is_refused_before_it_does(read):
    with pytest.raises(UnreadableError, match="60000 x 50000 pixels, more than any radiograph has"):
        read(picture(0), Columns=60000, Rows=50000)


def test_a_deflated_file_is_refused_before_it_is_inflated(read, tmp_path):
    read(picture(0))
    header = dcmread(tmp_path / "x.dicom")
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "deflated.dicom")
    content = (tmp_path / "deflated.dicom").read_bytes()
    assert np.array_equal(dcmread(io.BytesIO(content)).pixel_array, picture(0)), "pydicom inflates it"
    for file in (content, content[:-500] + b"no deflated data"):
        with pytest.raises(UnreadableError, match=r"^a deflated file; store it in another transfer syntax$"):
            decode(file, "header")
