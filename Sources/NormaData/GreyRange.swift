import NormaFormats

/// The grey values that become 0 and 1.
///
/// 8-bit values are scaled by the full range of the format. Wider whole numbers are scaled by the smallest
/// bit depth of 8, 10, 12, 14, 16, … that holds the stack's greatest value, since cameras of 10 to 14 bits
/// write 16-bit files; with negative values by the format's full range. Floating-point values inside 0…1 stay; others are scaled
/// by the least and the greatest value of the whole stack (a constant stack becomes 0).
public struct GreyRange: Sendable, Equatable {
  /// How the values are stored.
  public let format: SampleFormat
  /// Becomes 0.
  public let low: Float
  /// Becomes 1.
  public let high: Float

  /// A range as it was kept.
  public init(format: SampleFormat, low: Float, high: Float) {
    self.format = format
    self.low = low
    self.high = high
  }

  /// The range for values between two bounds.
  public init(format: SampleFormat, least: Float, greatest: Float) {
    // The 32-bit bounds are the nearest numbers that a Float holds.
    let bounds: ClosedRange<Float> =
      switch format {
      case .uint8: 0...255
      case .int8: -128...127
      case .int16 where least < 0: -32768...32767
      case .int32 where least < 0: -0x1p31...0x1p31
      case .uint16, .uint32, .int16, .int32: 0...Self.bitDepthRange(holding: greatest)
      case .float32, .float64: least >= 0 && greatest <= 1 ? 0...1 : least...greatest
      }
    self.init(format: format, low: bounds.lowerBound, high: bounds.upperBound)
  }

  /// The range for a stack.
  /// - Throws: `DataError` if a value is not finite.
  public init(of stack: ImageStack) throws {
    var bounds = GreyBounds(format: stack.format)
    let perPage = stack.channels * stack.height * stack.width
    for page in 0..<stack.pages { try bounds.add(stack.values[page * perPage..<(page + 1) * perPage], page: page) }
    self = bounds.range
  }

  /// The range by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    ["input_format": format.rawValue, "input_low": "\(low)", "input_high": "\(high)"]
  }

  /// Reads ``metadata``; nil where it is not there or makes no sense.
  public init?(metadata: [String: String]) {
    guard let format = metadata["input_format"].flatMap(SampleFormat.init(rawValue:)),
      let low = metadata["input_low"].flatMap(Float.init), let high = metadata["input_high"].flatMap(Float.init),
      low.isFinite, high.isFinite, low <= high
    else { return nil }
    self.init(format: format, low: low, high: high)
  }

  /// Whether the format alone decides the range.
  public static func isFixed(for format: SampleFormat) -> Bool { format == .uint8 || format == .int8 }

  /// The values scaled to 0…1, in the same order.
  public func unitValues(_ values: [Float]) -> [Float] {
    let extent = high - low
    if low == 0 && extent == 1 { return values }
    if extent == 0 { return [Float](repeating: 0, count: values.count) }
    return values.map { ($0 - low) / extent }
  }

  /// The greatest value of the smallest even bit depth that holds `greatest`.
  private static func bitDepthRange(holding greatest: Float) -> Float {
    var bits: Float = 256
    while bits - 1 < greatest { bits *= 4 }
    return bits - 1
  }
}

/// The least and the greatest of values that come in parts, for their ``GreyRange``.
public struct GreyBounds: Sendable {
  private let format: SampleFormat
  private var least = Float.infinity
  private var greatest = -Float.infinity

  public init(format: SampleFormat) { self.format = format }

  /// Takes in values of a page, which is counted from 0.
  /// - Throws: `DataError` if one is not finite.
  public mutating func add(_ values: ArraySlice<Float>, page: Int) throws {
    for value in values {
      guard value.isFinite else {
        throw DataError(
          .imageValue,
          "Expected finite grey values, received \(value) on page \(page + 1); repair or remove that page.")
      }
      least = min(least, value)
      greatest = max(greatest, value)
    }
  }

  /// The range for all values so far.
  public var range: GreyRange {
    least > greatest
      ? GreyRange(format: format, least: 0, greatest: 0)
      : GreyRange(format: format, least: least, greatest: greatest)
  }
}
