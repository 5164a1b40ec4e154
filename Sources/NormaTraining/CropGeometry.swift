/// Which inputs a segmentation network takes, and where its output lies in them. What is said of an axis holds for all.
public struct CropGeometry: Sendable {
  /// 2 for slices, 3 for volumes of consecutive slices.
  public var dimensions: Int
  /// How many pixels the output is short of the input at every side.
  public var margin: Int
  /// The extent of the output for one of the input; nil for what the network does not take.
  public var outputExtent: @Sendable (Int) -> Int?
  /// Where an input lies around so many wanted pixels, counted from the first of them.
  public var inputRange: @Sendable (_ wanted: Int) -> Range<Int>
  /// Which extents an input may have, as words after "extents".
  public var extentsInWords: String

  public init(
    dimensions: Int, margin: Int, extentsInWords: String, outputExtent: @escaping @Sendable (Int) -> Int?,
    inputRange: @escaping @Sendable (_ wanted: Int) -> Range<Int>
  ) {
    self.dimensions = dimensions
    self.margin = margin
    self.extentsInWords = extentsInWords
    self.outputExtent = outputExtent
    self.inputRange = inputRange
  }

  /// Of a network whose output is as large as its input, which is a multiple of a number of pixels: what is missing is added
  /// at the end.
  public static func multiples(of multiple: Int, dimensions: Int = 2) -> CropGeometry {
    CropGeometry(
      dimensions: dimensions, margin: 0, extentsInWords: "divisible by \(multiple)",
      outputExtent: { $0 > 0 && $0 % multiple == 0 ? $0 : nil },
      inputRange: { 0..<($0 + multiple - 1) / multiple * multiple })
  }

  /// The greatest extent that the network takes up to the given one, or else the smallest.
  public func nearest(to extent: Int) -> Int {
    (1...max(1, extent)).last { outputExtent($0) != nil } ?? inputRange(1).count
  }
}
