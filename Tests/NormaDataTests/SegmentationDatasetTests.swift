import NormaFormats
import Testing

@testable import NormaData

@Suite struct SegmentationDatasetTests {
  private let binary = stack(height: 2, width: 2) { _, _, y, x in y == x ? 255 : 0 }

  private func dataset(_ images: ImageStack, _ labels: ImageStack, ignore: Int? = nil) throws
    -> SegmentationDataset
  {
    try SegmentationDataset(images: images, labels: labels, ignore: ignore, name: "small")
  }

  @Test func labelValuesBecomeClassesInAscendingOrder() throws {
    let image = stack(height: 1, width: 5) { _, _, _, _ in 0 }
    let labels = stack(height: 1, width: 5, format: .int16) { _, _, _, x in [7, -1, 300, 7, 9][x] }
    let data = try dataset(image, labels, ignore: 9)
    #expect(data.classValues == [-1, 7, 300])
    #expect(data.classes == 3)
    #expect(data.labels(page: 0) == [1, 0, 2, 1, SegmentationDataset.ignoredClass])
    #expect(data.classFrequencies == [0.25, 0.5, 0.25])

    let data255 = try dataset(stack(height: 2, width: 2) { _, _, _, _ in 0 }, binary)
    #expect(data255.classValues == [0, 255])
    #expect(data255.labels(page: 0) == [1, 0, 0, 1])
  }

  @Test func imagesAreScaledByTheRangeOfTheFormat() throws {
    let cases: [(format: SampleFormat, values: [Float], scaled: [Float])] = [
      (.uint8, [0, 51, 102, 255], [0, 0.2, 0.4, 1]),
      (.uint16, [0, 13107, 26214, 65535], [0, 0.2, 0.4, 1]),
      // A camera of 12 bits, and one whose numbers happen to stay within 8.
      (.uint16, [0, 819, 1638, 4095], [0, 0.2, 0.4, 1]),
      (.int16, [0, 51, 102, 255], [0, 0.2, 0.4, 1]),
      (.int8, [-128, -77, -26, 127], [0, 0.2, 0.4, 1]),
      (.float32, [0, 0.25, 0.5, 0.75], [0, 0.25, 0.5, 0.75]),
      (.float32, [-2, -1, 0, 2], [0, 0.25, 0.5, 1]),
      (.float64, [3, 3, 3, 3], [0, 0, 0, 0]),
    ]
    for (format, values, scaled) in cases {
      let images = stack(height: 2, width: 2, format: format) { _, _, y, x in values[2 * y + x] }
      #expect(try dataset(images, binary).image(page: 0) == scaled, "\(format)")
    }
  }

  @Test func mistakesAreNamed() throws {
    let image = stack(height: 2, width: 2) { _, _, _, _ in 9 }
    func kind(_ images: ImageStack, _ labels: ImageStack, ignore: Int? = nil) -> DataError.Kind? {
      errorKind { _ = try dataset(images, labels, ignore: ignore) }
    }
    #expect(kind(image, binary) == nil)
    #expect(kind(stack(pages: 2, height: 2, width: 2) { _, _, _, _ in 0 }, binary) == .pageCount)
    #expect(kind(stack(height: 3, width: 2) { _, _, _, _ in 0 }, binary) == .size)
    #expect(kind(stack(height: 2, width: 1) { _, _, _, _ in 0 }, binary) == .size)
    let colours = stack(channels: 3, height: 2, width: 2) { _, c, _, _ in Float(c) }
    #expect(kind(image, colours) == .labelChannels)
    for wrong in [0.5, Float.nan, .infinity] {
      let labels = stack(height: 2, width: 2, format: .float32) { _, _, y, x in y + x == 2 ? wrong : 0 }
      #expect(kind(image, labels) == .labelValue)
    }
    for wrong in [Float.nan, -.infinity] {
      let bad = stack(height: 2, width: 2, format: .float32) { _, _, y, x in y + x == 2 ? wrong : 0 }
      #expect(kind(bad, binary) == .imageValue)
    }
    #expect(kind(image, stack(height: 2, width: 2) { _, _, _, _ in 5 }) == .classCount)
    // One class is left when the other value is ignored.
    #expect(kind(image, binary, ignore: 255) == .classCount)
  }

  @Test func sixtyFourLabelValuesAreTheMost() throws {
    let image = stack(height: 5, width: 13) { _, _, _, _ in 0 }
    let labels = { (count: Int) in
      stack(height: 5, width: 13) { _, _, y, x in Float(min(13 * y + x, count - 1)) }
    }
    #expect(try dataset(image, labels(64)).classes == 64)
    #expect(errorKind { _ = try dataset(image, labels(65)) } == .classCount)
    #expect(try dataset(image, labels(65), ignore: 3).classes == 64)
  }

  @Test func messagesSayWhatWasExpectedAndReceived() {
    let image = stack(pages: 3, height: 2, width: 2) { _, _, _, _ in 0 }
    #expect {
      _ = try dataset(image, binary)
    } throws: { error in
      "\(error)".contains("3 image pages") && "\(error)".contains("received 1")
    }
  }

  @Test func lastSlicesAreForValidation() throws {
    let data = try tellingDataset(pages: 5)
    let (training, validation) = try data.split(validationSlices: 2)
    #expect(training.stackPages == 0..<3)
    #expect(validation.stackPages == 3..<5)
    #expect(validation.image(page: 0) == data.image(page: 3))
    #expect(validation.labels(page: 1) == data.labels(page: 4))
    #expect(training.image(page: 2) == data.image(page: 2))
    // A part of a part counts from its own first slice.
    let inner = try validation.split(validationSlices: 1).validation
    #expect(inner.stackPages == 4..<5)
    #expect(inner.image(page: 0) == data.image(page: 4))
    for wrong in [-1, 0, 5, 6] {
      #expect(errorKind { _ = try data.split(validationSlices: wrong) } == .split)
    }
  }

  @Test func frequenciesBelongToThePart() throws {
    let images = stack(pages: 2, height: 2, width: 2) { _, _, _, _ in 0 }
    let labels = stack(pages: 2, height: 2, width: 2) { page, _, y, x in page == 0 && y + x > 0 ? 1 : 0 }
    let data = try dataset(images, labels)
    #expect(data.classFrequencies == [0.625, 0.375])
    let (training, validation) = try data.split(validationSlices: 1)
    #expect(training.classFrequencies == [0.25, 0.75])
    #expect(validation.classFrequencies == [1, 0])
    #expect(validation.classes == 2)
  }
}
