import NormaData
import NormaTensor

/// Pictures of one shape each, of varying place, size, brightness and contrast, in noise.
struct Shapes {
  static let names = ["disc", "square", "cross", "ring"]
  static let extent = 20

  /// [count, 1, extent, extent]
  let images: Tensor
  /// [count], indices of ``names``.
  let labels: Tensor

  init(count: Int, seed: UInt64) throws {
    var random = RandomSource(seed: seed)
    var pixels: [Float] = []
    var classes: [Int64] = []
    for _ in 0..<count {
      let shape = Int.random(in: 0..<Self.names.count, using: &random)
      let size = Float.random(in: 4...6, using: &random)
      let (x, y) = (Float.random(in: 8...12, using: &random), Float.random(in: 8...12, using: &random))
      // Contrasts that differ by a factor of ten, on any ground.
      let contrast = Float.random(in: 0.2...2, using: &random)
      let ground = Float.random(in: -0.2...0.2, using: &random)
      for row in 0..<Self.extent {
        for column in 0..<Self.extent {
          let (dx, dy) = (abs(Float(column) - x), abs(Float(row) - y))
          let distance = (dx * dx + dy * dy).squareRoot()
          let isInside =
            switch shape {
            case 0: distance < size
            case 1: max(dx, dy) < size * 0.89
            case 2: max(dx, dy) < size && min(dx, dy) < size * 0.4
            default: distance < size && distance > size * 0.55
            }
          pixels.append(ground + (isInside ? contrast : 0) + Float.random(in: -0.1...0.1, using: &random))
        }
      }
      classes.append(Int64(shape))
    }
    images = try Tensor(pixels, shape: [count, 1, Self.extent, Self.extent])
    labels = try Tensor(classes)
  }
}
