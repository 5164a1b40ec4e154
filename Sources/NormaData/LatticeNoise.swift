/// Smooth random fields over a stack: random numbers on a coarse lattice with cubic B-splines between.
///
/// Made of additions and multiplications only, so that a seed gives the same field on every machine.
struct LatticeNoise {
  private let width: Int
  private let height: Int
  private let spacing: Float
  private let sliceSpacing: Float
  private let columns: Int
  private let rows: Int
  private let lattice: [Float]

  /// Draws a field of mean 0 and standard deviation about 1.
  ///
  /// - Parameters:
  ///   - spacing: distance between lattice points within a slice, in pixels.
  ///   - slices: how many slices the field covers.
  ///   - sliceSpacing: distance between lattice points across slices, in slices.
  init(
    width: Int, height: Int, spacing: Float, slices: Int = 1, sliceSpacing: Float = 4,
    using random: inout RandomSource
  ) {
    self.width = width
    self.height = height
    self.spacing = spacing
    self.sliceSpacing = sliceSpacing
    columns = Int(Float(width) / spacing) + 4
    rows = Int(Float(height) / spacing) + 4
    let layers = slices == 1 ? 1 : Int(Float(slices) / sliceSpacing) + 4
    // A uniform number from −1 … 1 deviates by 0.577; a B-spline shrinks deviations to 0.69 per axis.
    let amplitude: Float = slices == 1 ? 3.6 : 5.2
    lattice = (0..<layers * rows * columns).map { _ in random.uniform(in: -amplitude...amplitude) }
  }

  /// The field on one slice, [height, width].
  func slice(_ slice: Int) -> [Float] {
    let layer = flattened(slice)
    let horizontal = (0..<width).map { BSpline(at: Float($0) / spacing) }
    var result = [Float](repeating: 0, count: width * height)
    var line = [Float](repeating: 0, count: columns)
    result.withUnsafeMutableBufferPointer { result in
      horizontal.withUnsafeBufferPointer { horizontal in
        for y in 0..<height {
          let vertical = BSpline(at: Float(y) / spacing)
          for column in 0..<columns {
            line[column] = vertical.blend(layer, from: column, step: columns)
          }
          line.withUnsafeBufferPointer { line in
            for x in 0..<width {
              let spline = horizontal[x]
              let start = spline.first
              let weights = spline.weights
              result[y * width + x] =
                (line[start] * weights[0] + line[start + 1] * weights[1])
                + (line[start + 2] * weights[2] + line[start + 3] * weights[3])
            }
          }
        }
      }
    }
    return result
  }

  /// The lattice of one slice, [rows, columns].
  private func flattened(_ slice: Int) -> [Float] {
    let size = rows * columns
    if lattice.count == size { return lattice }
    let spline = BSpline(at: Float(slice) / sliceSpacing)
    return (0..<size).map { spline.blend(lattice, from: $0, step: size) }
  }
}

/// The four weights of a uniform cubic B-spline at one place.
struct BSpline {
  /// The first of the four values that the spline mixes.
  let first: Int
  let weights: SIMD4<Float>

  init(at position: Float) {
    first = Int(position)
    let t = position - Float(first)
    let s = 1 - t
    weights =
      SIMD4(
        s * s * s, (3 * t - 6) * t * t + 4, (3 * s - 6) * s * s + 4, t * t * t) / 6
  }

  /// Mixes four elements of `values`, `step` apart; `offset` is added to their place.
  @inline(__always)
  func blend(_ values: [Float], from offset: Int, step: Int) -> Float {
    let start = offset + first * step
    return (values[start] * weights[0] + values[start + step] * weights[1])
      + (values[start + 2 * step] * weights[2] + values[start + 3 * step] * weights[3])
  }
}
