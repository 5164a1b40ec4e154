/// Made-up optical flow as of a face: smooth motion of the whole, and on some frames a small spot that widens, narrows or shears
/// as skin does over a muscle.
///
/// Three streams per frame: the components u and v of the motion in pixels, and the optical strain. The number to be told is
/// how near the frame is to the apex of the small movement: 0 without one, 1 at its strongest. The motion of the whole strains
/// the field too, more in sum than the spot does, so that the spot has to be found.
public struct SyntheticFlow: Sendable {
  /// Rows and columns of a frame.
  public var side: Int
  /// The number of frames.
  public var count: Int
  /// Decides everything.
  public var seed: UInt64

  /// Describes a set; the side must be at least 24 and the count positive.
  public init(side: Int = 42, count: Int = 2000, seed: UInt64 = 0) {
    precondition(
      side >= 24 && count > 0, "optical flow needs a side of at least 24 and a count, received \(side) and \(count)")
    self.side = side
    self.count = count
    self.seed = seed
  }

  /// Makes the frames: [count, 3, side, side], independent of each other.
  public func make() -> ImageDataset {
    let source = RandomSource(seed: seed)
    var random = source.derive(stream: 0)
    let pool = NoisePool(side: side, spacings: [9, 12, 12, 16, 16, 22], using: &random)
    var values: [Float] = []
    values.reserveCapacity(count * 3 * side * side)
    let scores = (0..<count).map { index -> Float in
      var random = source.derive(stream: 1, UInt64(index))
      let score = random.uniform() < 0.35 ? 0 : random.uniform(in: Float(0)...1)
      values += frame(score, pool, using: &random)
      return score
    }
    return known(
      try ImageDataset(
        name: "synthetic optical flow", channels: 3, height: side, width: side, pixels: .reals(values),
        targets: .values(scores, name: "score")))
  }

  private func frame(_ score: Float, _ pool: NoisePool, using random: inout RandomSource) -> [Float] {
    let (patchU, patchV) = (pool.patch(side: side, using: &random), pool.patch(side: side, using: &random))
    let wave = random.uniform(in: Float(0.1)...0.5)
    let shift = random.direction() * random.uniform(in: Float(0)...0.6)
    let turn = random.uniform(in: Float(-0.02)...0.02)
    let radius = random.uniform(in: Float(5)...8)
    let room = radius * 0.8...Float(side - 1) - radius * 0.8
    let centre = SIMD2(random.uniform(in: room), random.uniform(in: room))
    let kind = random.integer(below: 3)
    let direction = random.direction()
    // Displacement per pixel in the spot's middle at the apex.
    let slope = score * random.uniform(in: Float(0.45)...0.55)
    let middle = Float(side - 1) / 2
    var (u, v) = ([Float](repeating: 0, count: side * side), [Float](repeating: 0, count: side * side))
    for y in 0..<side {
      for x in 0..<side {
        let place = SIMD2(Float(x), Float(y))
        let fromMiddle = place - middle
        var motion = shift + SIMD2(-fromMiddle.y, fromMiddle.x) * turn + SIMD2(patchU[x, y], patchV[x, y]) * wave
        let offset = place - centre
        let near = 1 - (offset.x * offset.x + offset.y * offset.y) / (radius * radius)
        if near > 0 {
          let spot: SIMD2<Float> =
            switch kind {
            case 0: offset
            case 1: -offset
            default: direction * turned(offset, direction).y * 1.4
            }
          motion += spot * (slope * near * near)
        }
        u[y * side + x] = motion.x + 0.015 * random.roughNormal()
        v[y * side + x] = motion.y + 0.015 * random.roughNormal()
      }
    }
    return u + v + Self.strain(u: u, v: v, height: side, width: side)
  }

  /// The norm of the symmetric part of the motion's gradient at every pixel, √(exx² + eyy² + 2 exy²) with exx = ∂u/∂x,
  /// eyy = ∂v/∂y and exy = (∂u/∂y + ∂v/∂x) / 2, by central differences and one-sided ones at the edges.
  ///
  /// - Parameters: `u` and `v` are [height, width], at least 2×2.
  public static func strain(u: [Float], v: [Float], height: Int, width: Int) -> [Float] {
    precondition(
      height > 1 && width > 1 && u.count == height * width && v.count == u.count,
      "optical strain needs two components of at least 2×2, received \(u.count) and \(v.count) values of \(height)×\(width)"
    )
    var result = [Float](repeating: 0, count: u.count)
    for y in 0..<height {
      let (above, below) = (max(y - 1, 0), min(y + 1, height - 1))
      for x in 0..<width {
        let (left, right) = (max(x - 1, 0), min(x + 1, width - 1))
        let (stepX, stepY) = (Float(right - left), Float(below - above))
        let xx = (u[y * width + right] - u[y * width + left]) / stepX
        let yy = (v[below * width + x] - v[above * width + x]) / stepY
        let xy =
          ((u[below * width + x] - u[above * width + x]) / stepY + (v[y * width + right] - v[y * width + left]) / stepX)
          / 2
        result[y * width + x] = (xx * xx + yy * yy + 2 * xy * xy).squareRoot()
      }
    }
    return result
  }
}
