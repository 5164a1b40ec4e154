/// Made-up colour pictures of one shape each, on a background with a texture and clutter, in eight classes.
///
/// Place, size, turn, colours and textures say nothing about the class, so that it must be told from the outline.
public struct SyntheticShapes: Sendable {
  /// The names of the classes.
  public static let names = ["circle", "square", "triangle", "cross", "ring", "stripes", "crescent", "dots"]

  /// Rows and columns of a picture.
  public var side: Int
  /// The number of pictures, of all classes as many but for one.
  public var count: Int
  /// Decides everything.
  public var seed: UInt64

  /// Describes a set; the side must be at least 8 and the count positive.
  public init(side: Int = 32, count: Int = 4000, seed: UInt64 = 0) {
    precondition(side >= 8 && count > 0, "shapes need a side of at least 8 and a count, received \(side) and \(count)")
    self.side = side
    self.count = count
    self.seed = seed
  }

  /// Paints the pictures: [count, 3, side, side] in eight bits.
  public func make() -> ImageDataset {
    let source = RandomSource(seed: seed)
    var random = source.derive(stream: 0)
    let unit = Float(side) / 32
    let pool = NoisePool(side: side, spacings: [2, 3, 4, 6, 9, 14].map { $0 * unit }, using: &random)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count * 3 * side * side)
    let classes = (0..<count).map { UInt16($0 % Self.names.count) }
    for (index, number) in classes.enumerated() {
      var random = source.derive(stream: 1, UInt64(index))
      bytes += picture(of: Int(number), pool, using: &random)
    }
    return known(
      try ImageDataset(
        name: "synthetic shapes", channels: 3, height: side, width: side, pixels: .bytes(bytes),
        targets: .classes(classes, names: Self.names)))
  }

  private func picture(of number: Int, _ pool: NoisePool, using random: inout RandomSource) -> [UInt8] {
    let (ground, figure) = colours(using: &random)
    let (groundPatch, figurePatch) = (pool.patch(side: side, using: &random), pool.patch(side: side, using: &random))
    var canvas = SyntheticCanvas(side: side)
    canvas.fill { x, y in blend(ground.0, ground.1, 0.5 + 0.24 * groundPatch[x, y]) }
    let extent = Float(side)
    for _ in 0..<random.integer(below: 5) {
      let place = SIMD2(random.uniform(in: 0...extent), random.uniform(in: 0...extent))
      let (along, half) = (random.direction(), random.uniform(in: Float(0.03)...0.09) * extent)
      canvas.paint(place, reach: half, random.colour()) {
        segmentDistance($0, along * -half, along * half) - 0.02 * extent
      }
    }
    let radius = random.uniform(in: Float(0.23)...0.38) * extent
    let room = max(0, extent / 2 - radius)
    let centre = SIMD2(
      extent / 2 + random.uniform(in: -room...room), extent / 2 + random.uniform(in: -room...room))
    let direction = random.direction()
    canvas.paint(
      centre, reach: radius, colour: { x, y in blend(figure.0, figure.1, 0.5 + 0.24 * figurePatch[x, y]) },
      distance: { radius * Self.distance(turned($0 / radius, direction), number) })
    return canvas.bytes(noise: 0.03, using: &random)
  }

  /// Two colours of the background and two of the shape, which differ in the mean.
  private func colours(
    using random: inout RandomSource
  ) -> (ground: (SIMD3<Float>, SIMD3<Float>), figure: (SIMD3<Float>, SIMD3<Float>)) {
    while true {
      let ground = (random.colour(), random.colour())
      let figure = (random.colour(), random.colour())
      let difference = (figure.0 + figure.1 - ground.0 - ground.1) / 2
      if (difference * difference).sum() > 0.22 { return (ground, figure) }
    }
  }

  /// Distance from the rim of a shape in the unit circle, negative inside.
  private static func distance(_ p: SIMD2<Float>, _ number: Int) -> Float {
    switch names[number] {
    case "circle": return length(p) - 0.85
    case "square": return boxDistance(p, SIMD2(0.7, 0.7))
    case "triangle": return max(p.y, -0.5 * p.y + 0.866 * abs(p.x)) - 0.48
    case "cross": return min(boxDistance(p, SIMD2(0.95, 0.27)), boxDistance(p, SIMD2(0.27, 0.95)))
    case "ring": return abs(length(p) - 0.68) - 0.22
    case "stripes": return max(abs(abs(abs(p.y) - 0.3) - 0.3) - 0.16, abs(p.x) - 0.78)
    case "crescent": return max(length(p) - 0.9, 0.72 - length(p - SIMD2(0.42, 0)))
    default:
      return [SIMD2<Float>(0, -0.62), SIMD2(-0.54, 0.31), SIMD2(0.54, 0.31)].map { length(p - $0) - 0.32 }.min()!
    }
  }
}

/// A dataset whose parts agree because they were made to.
func known(_ make: @autoclosure () throws -> ImageDataset) -> ImageDataset {
  do {
    return try make()
  } catch {
    preconditionFailure("the painter made something else than it was asked for: \(error)")
  }
}
