#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// One sample's change of grey values: gamma, contrast around mid-grey, brightness, noise; result in 0…1.
struct GreyVariation: Equatable {
  var gamma: Float = 1
  var contrast: Float = 1
  var brightness: Float = 0
  /// Standard deviation of the noise.
  var noise: Float = 0
  var noiseSeed: UInt64 = 0

  static let none = GreyVariation()

  private static let tableSize = 1024

  var isIdentity: Bool { gamma == 1 && contrast == 1 && brightness == 0 && noise == 0 }

  /// Changes values in 0…1 in place.
  func apply(to values: UnsafeMutableBufferPointer<Float>) {
    if isIdentity { return }
    if gamma != 1 { raise(values) }
    let offset = 0.5 - 0.5 * contrast + brightness
    if noise > 0 {
      addNoise(to: values, offset: offset)
    } else {
      for index in 0..<values.count {
        values[index] = max(0, min(1, values[index] * contrast + offset))
      }
    }
  }

  /// Raises to the power gamma, linear between the entries of a table: a power per pixel would take longer
  /// than everything else together.
  private func raise(_ values: UnsafeMutableBufferPointer<Float>) {
    let size = Self.tableSize
    let table = (0...size).map { pow(Float($0) / Float(size), gamma) }
    table.withUnsafeBufferPointer { table in
      for index in 0..<values.count {
        let position = max(0, min(1, values[index])) * Float(size)
        let entry = min(Int(position), size - 1)
        let fraction = position - Float(entry)
        values[index] = table[entry] * (1 - fraction) + table[entry + 1] * fraction
      }
    }
  }

  private func addNoise(to values: UnsafeMutableBufferPointer<Float>, offset: Float) {
    var random = RandomSource(seed: noiseSeed)
    for index in 0..<values.count {
      let deviate = random.roughNormal()
      values[index] = max(0, min(1, values[index] * contrast + offset + noise * deviate))
    }
  }
}

extension RandomSource {
  /// A number of mean 0 and standard deviation 1, nearly normal: the sum of eight uniform 16-bit numbers.
  ///
  /// For noise on every pixel; `normal()` takes several times longer.
  @inline(__always)
  mutating func roughNormal() -> Float {
    var sum: UInt64 = 0
    for _ in 0..<2 {
      let bits = next()
      // Two additions at once: the sums of 16-bit numbers stay within their halves of the 64 bits.
      let pairs = (bits & 0x0000_ffff_0000_ffff) &+ ((bits >> 16) & 0x0000_ffff_0000_ffff)
      sum &+= (pairs & 0xffff_ffff) &+ (pairs >> 32)
    }
    // Variance of the sum: 8·(2³² − 1)/12.
    return (Float(Int32(truncatingIfNeeded: sum)) - 262_140) * 1.868_830_9e-5
  }
}
