import NormaFormats

/// Brings stored grey values to 0…1.
enum ImageScaling {
  /// The stack's values scaled to 0…1, in the same order.
  ///
  /// 8-bit values are scaled by the full range of the format. Wider whole numbers are scaled by the smallest
  /// bit depth of 8, 10, 12, 14, 16, … that holds the stack's greatest value, since cameras of 10 to 14 bits
  /// write 16-bit files; with negative values by the format's full range. Floating-point values inside 0…1 stay; others are scaled
  /// by the least and the greatest value of the whole stack (a constant stack becomes 0).
  ///
  /// - Throws: `DataError` if a value is not finite.
  static func unitRange(of stack: ImageStack) throws -> [Float] {
    guard let first = stack.values.first else { return [] }
    var least = first
    var greatest = first
    for (index, value) in stack.values.enumerated() {
      guard value.isFinite else {
        let page = index / (stack.channels * stack.height * stack.width)
        throw DataError(
          .imageValue,
          "Expected finite grey values, received \(value) on page \(page + 1); repair or remove that page.")
      }
      least = min(least, value)
      greatest = max(greatest, value)
    }
    let bounds = fullRange(of: stack.format, least: least, greatest: greatest)
    let offset = bounds.lowerBound
    let extent = bounds.upperBound - bounds.lowerBound
    if offset == 0 && extent == 1 { return stack.values }
    if extent == 0 { return [Float](repeating: 0, count: stack.values.count) }
    return stack.values.map { ($0 - offset) / extent }
  }

  private static func fullRange(
    of format: SampleFormat, least: Float, greatest: Float
  ) -> ClosedRange<Float> {
    // The 32-bit bounds are the nearest numbers that a Float holds.
    switch format {
    case .uint8: 0...255
    case .int8: -128...127
    case .int16 where least < 0: -32768...32767
    case .int32 where least < 0: -0x1p31...0x1p31
    case .uint16, .uint32, .int16, .int32: 0...bitDepthRange(holding: greatest)
    case .float32, .float64: least >= 0 && greatest <= 1 ? 0...1 : least...greatest
    }
  }

  /// The greatest value of the smallest even bit depth that holds `greatest`.
  private static func bitDepthRange(holding greatest: Float) -> Float {
    var bits: Float = 256
    while bits - 1 < greatest { bits *= 4 }
    return bits - 1
  }
}
