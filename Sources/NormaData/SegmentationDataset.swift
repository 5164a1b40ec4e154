import NormaFormats

/// Slices with a class for every pixel: what a segmentation network learns from.
///
/// Images are scaled to 0…1: by the full range of a whole-number format (`uint8` by 255, `uint16` by 65535,
/// signed formats from their least value); floating-point values by the least and greatest of the whole stack
/// unless all lie in 0…1. Label values become classes 0 ..< K in ascending order, so 0 and 255 become 0 and 1.
/// Copies and parts share one storage.
public struct SegmentationDataset: Sendable {
  /// The class number that marks pixels without a label.
  public static let ignoredClass: UInt8 = 255

  /// What to call this data in reports.
  public let name: String
  /// Channels per image.
  public let channels: Int
  /// Rows per slice.
  public let height: Int
  /// Columns per slice.
  public let width: Int
  /// How the images' values in the file became 0…1.
  public let greyRange: GreyRange
  /// The label value of each class in the file, ascending.
  public let classValues: [Int]
  /// The slices of the original stack that this part holds.
  public let stackPages: Range<Int>
  /// The share of each class among the labelled pixels of this part; sums to 1.
  public let classFrequencies: [Double]

  let storage: Storage

  /// The number of classes, K.
  public var classes: Int { classValues.count }
  /// The number of slices.
  public var pages: Int { stackPages.count }

  /// Pairs an image stack with a label stack.
  ///
  /// - Parameters:
  ///   - images: [pages, channels, height, width], finite values.
  ///   - labels: [pages, 1, height, width], whole numbers with 2 to 64 different values.
  ///   - ignore: the label value of pixels that take no part in training, or `nil`.
  ///   - name: what to call the data in reports.
  /// - Throws: `DataError` when the two do not fit together or do not look like images and labels.
  public init(images: ImageStack, labels: ImageStack, ignore: Int? = nil, name: String) throws {
    try Self.checkShapes(images: images, labels: labels)
    let mapping = try LabelMapping(labels: labels, ignore: ignore)
    let greyRange = try GreyRange(of: images)
    let storage = Storage(
      images: greyRange.unitValues(images.values), labels: mapping.classes(of: labels),
      pages: images.pages)
    self.init(
      name: name, channels: images.channels, height: images.height, width: images.width, greyRange: greyRange,
      classValues: mapping.classValues, stackPages: 0..<images.pages, storage: storage)
  }

  private init(
    name: String, channels: Int, height: Int, width: Int, greyRange: GreyRange, classValues: [Int],
    stackPages: Range<Int>,
    storage: Storage
  ) {
    self.name = name
    self.channels = channels
    self.height = height
    self.width = width
    self.greyRange = greyRange
    self.classValues = classValues
    self.stackPages = stackPages
    self.storage = storage
    let area = height * width
    classFrequencies = Self.frequencies(
      of: storage.labels[stackPages.lowerBound * area..<stackPages.upperBound * area],
      classes: classValues.count)
  }

  /// Tells these slices from others: 64 bits of hash of images and labels (FNV-1a over words), in hexadecimal digits.
  public var digest: String {
    var hash = WordHash()
    let area = height * width
    hash.take([channels, height, width, pages])
    let (first, end) = (stackPages.lowerBound * area, stackPages.upperBound * area)
    hash.take(storage.images[first * channels..<end * channels].lazy.map(\.bitPattern))
    hash.take(storage.labels[first..<end].lazy.map(UInt32.init))
    return hash.text
  }

  /// What a network trained on these slices needs to be used on others: the label value of every class, and how grey values
  /// became 0…1. ``GreyRange/init(metadata:)`` reads the latter.
  public var metadata: [String: String] {
    greyRange.metadata.merging(["class_values": classValues.map(String.init).joined(separator: ",")]) { $1 }
  }

  /// Parts the stack: the last `validationSlices` slices are for validation, the others for training.
  ///
  /// Whole slices at the end, because neighbouring slices resemble each other: a random choice
  /// would show the network nearly the same pictures in training.
  ///
  /// - Throws: `DataError` unless 1 ≤ `validationSlices` < `pages`.
  public func split(
    validationSlices: Int
  ) throws -> (training: SegmentationDataset, validation: SegmentationDataset) {
    guard pages >= 2 else {
      throw DataError(
        .split, "Expected at least two slices, one for training and one for validation, received \(pages) in \(name).")
    }
    guard validationSlices >= 1, validationSlices < pages else {
      throw DataError(
        .split,
        "Expected 1 to \(pages - 1) validation slices of the \(pages) in \(name), received "
          + "\(validationSlices); leave at least one slice for training and one for validation.")
    }
    let boundary = stackPages.upperBound - validationSlices
    return (
      part(stackPages.lowerBound..<boundary, "\(name), training"),
      part(boundary..<stackPages.upperBound, "\(name), validation")
    )
  }

  private func part(_ range: Range<Int>, _ name: String) -> SegmentationDataset {
    SegmentationDataset(
      name: name, channels: channels, height: height, width: width, greyRange: greyRange,
      classValues: classValues, stackPages: range, storage: storage)
  }

  /// One slice, [channels, height, width], values 0…1; `page` counts from 0 within this part.
  public func image(page: Int) -> [Float] {
    let count = channels * height * width
    return Array(storage.images[stackPage(page) * count..<(stackPage(page) + 1) * count])
  }

  /// The classes of one slice, [height, width]; `ignoredClass` where there is no label.
  public func labels(page: Int) -> [UInt8] {
    let area = height * width
    return Array(storage.labels[stackPage(page) * area..<(stackPage(page) + 1) * area])
  }

  func stackPage(_ page: Int) -> Int {
    precondition(page >= 0 && page < pages, "page \(page) is not one of the \(pages) of \(name)")
    return stackPages.lowerBound + page
  }

  private static func checkShapes(images: ImageStack, labels: ImageStack) throws {
    guard images.pages == labels.pages else {
      throw DataError(
        .pageCount,
        "Expected one label page for each of the \(images.pages) image pages, received \(labels.pages); "
          + "give stacks of the same slices.")
    }
    guard images.height == labels.height, images.width == labels.width else {
      throw DataError(
        .size,
        "Expected labels of the images' size \(images.height)×\(images.width) (height×width), received "
          + "\(labels.height)×\(labels.width); export both at the same resolution.")
    }
    guard labels.channels == 1 else {
      throw DataError(
        .labelChannels,
        "Expected labels with one channel, received \(labels.channels); store a class number per pixel "
          + "instead of colours.")
    }
  }

  private static func frequencies(of labels: ArraySlice<UInt8>, classes: Int) -> [Double] {
    var counts = [Int](repeating: 0, count: 256)
    for label in labels { counts[Int(label)] += 1 }
    let labelled = counts[..<classes].reduce(0, +)
    return counts[..<classes].map { labelled == 0 ? 0 : Double($0) / Double(labelled) }
  }

  /// The pixels that a stack and its parts share.
  final class Storage: Sendable {
    let images: [Float]
    let labels: [UInt8]
    let borders: [BorderMapCell]

    init(images: [Float], labels: [UInt8], pages: Int) {
      self.images = images
      self.labels = labels
      borders = (0..<pages).map { _ in BorderMapCell() }
    }
  }
}
