/// Displacements on a 3×3 grid over the crop, corners and middles, with bicubic interpolation between.
///
/// Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, section 3.1. The cubic is Catmull and Rom's, which
/// passes through the grid's values; beyond the grid the outermost value goes on.
struct ElasticGrid: Equatable {
  /// Displacements along x and along y in pixels, row by row; empty for no deformation.
  let x: [Float]
  let y: [Float]

  static let none = ElasticGrid(x: [], y: [])

  var isEmpty: Bool { x.isEmpty }

  init(x: [Float], y: [Float]) {
    precondition(x.count == y.count && (x.isEmpty || x.count == 9), "the grid has 3×3 nodes")
    self.x = x
    self.y = y
  }

  init(deviation: Float, using random: inout RandomSource) {
    x = (0..<9).map { _ in deviation * Float(random.normal()) }
    y = (0..<9).map { _ in deviation * Float(random.normal()) }
  }

  /// What each of the three nodes along an axis contributes at each of `count` pixels, [3, count].
  static func weights(count: Int) -> [Float] {
    var weights = [Float](repeating: 0, count: 3 * count)
    for pixel in 0..<count {
      let position = count > 1 ? 2 * Float(pixel) / Float(count - 1) : 0
      let segment = min(Int(position), 1)
      let t = position - Float(segment)
      let cubic = [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
      ]
      for (offset, weight) in cubic.enumerated() {
        let node = min(max(segment + offset - 1, 0), 2)
        weights[node * count + pixel] += weight
      }
    }
    return weights
  }
}
