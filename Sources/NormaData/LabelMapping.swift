import NormaFormats

/// The correspondence between the label values of a file and the classes 0 ..< K.
struct LabelMapping {
  /// More values than this look like grey values.
  static let greatestClassCount = 64

  /// The label value of each class, ascending.
  let classValues: [Int]

  private let ignore: Int?

  /// Finds the values that occur in `labels`, `ignore` left out.
  ///
  /// - Throws: `DataError` for values that are not whole numbers, for more than 64 values and for fewer
  ///   than two.
  init(labels: ImageStack, ignore: Int?) throws {
    var found: [Int] = []
    // Labels come in long runs of one value, so most pixels end at this comparison.
    var previous = Float.nan
    for (index, value) in labels.values.enumerated() where value != previous {
      guard value.rounded() == value, abs(value) <= 0x1p31 else {
        throw DataError(
          .labelValue,
          "Expected whole-number labels, received \(value) on page "
            + "\(index / (labels.height * labels.width) + 1); store class numbers, one per pixel.")
      }
      previous = value
      let label = Int(value)
      if label == ignore || found.contains(label) { continue }
      guard found.count < Self.greatestClassCount else {
        throw DataError(
          .classCount,
          "Expected labels with at most \(Self.greatestClassCount) different values, received more; this "
            + "looks like an image, not labels: check that the two files are not exchanged.")
      }
      found.append(label)
    }
    guard found.count > 1 else {
      let received = found.first.map { "only the value \($0)" } ?? "none"
      throw DataError(
        .classCount,
        "Expected labels with at least two different values besides the ignored one, received \(received); "
          + "give labels that separate at least two classes.")
    }
    classValues = found.sorted()
    self.ignore = ignore
  }

  /// The class of every pixel; ignored pixels become `SegmentationDataset.ignoredClass`.
  func classes(of labels: ImageStack) -> [UInt8] {
    var previous = Float.nan
    var current = SegmentationDataset.ignoredClass
    return labels.values.map { value in
      if value != previous {
        previous = value
        current = classValues.firstIndex(of: Int(value)).map(UInt8.init) ?? SegmentationDataset.ignoredClass
      }
      return current
    }
  }
}
