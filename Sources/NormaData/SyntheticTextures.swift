/// Made-up pictures for style transfer: style images, each a texture with colours of its own, and content pictures of
/// landscapes with objects and edges.
public struct SyntheticTextures: Sendable {
  /// The kinds of textures; a further style begins with the first again, in other colours.
  public static let styleNames = ["waves", "mosaic", "strokes", "dots", "marble", "weave"]
  /// What the content pictures show.
  public static let contentNames = ["houses", "trees", "boats", "balloons"]

  /// The classes of ``kinds(_:)``.
  public static let kindNames = styleNames + contentNames

  typealias Colour = SyntheticCanvas.Colour

  /// Rows and columns of a picture.
  public var side: Int
  /// Decides everything.
  public var seed: UInt64

  /// Describes a set; the side must be at least 16.
  public init(side: Int = 64, seed: UInt64 = 0) {
    precondition(side >= 16, "textures need a side of at least 16, received \(side)")
    self.side = side
    self.seed = seed
  }

  /// Paints `count` style images, [count, 3, side, side], each a class of its own. `count` must be positive.
  public func styles(_ count: Int = 6) -> ImageDataset {
    let source = RandomSource(seed: seed)
    let kinds = Self.styleNames.count
    var bytes: [UInt8] = []
    for number in 0..<count {
      var random = source.derive(stream: 0, UInt64(number))
      bytes += style(number % kinds, using: &random).bytes(noise: 0.01, using: &random)
    }
    let names = (0..<count).map { Self.styleNames[$0 % kinds] + ($0 < kinds ? "" : " \($0 / kinds + 1)") }
    return known(
      try ImageDataset(
        name: "synthetic styles", channels: 3, height: side, width: side, pixels: .bytes(bytes),
        targets: .classes((0..<count).map { UInt16($0) }, names: names)))
  }

  /// Paints `count` content pictures, [count, 3, side, side], with what they show as classes. `count` must be positive.
  public func contents(_ count: Int = 400) -> ImageDataset {
    let source = RandomSource(seed: seed)
    var random = source.derive(stream: 1)
    let pool = pool(using: &random)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count * 3 * side * side)
    let classes = (0..<count).map { UInt16($0 % Self.contentNames.count) }
    for (index, number) in classes.enumerated() {
      var random = source.derive(stream: 2, UInt64(index))
      bytes += content(Int(number), pool, using: &random).bytes(noise: 0.015, using: &random)
    }
    return known(
      try ImageDataset(
        name: "synthetic pictures", channels: 3, height: side, width: side, pixels: .bytes(bytes),
        targets: .classes(classes, names: Self.contentNames)))
  }

  /// Paints `count` pictures of all kinds in turn, textures in ever other colours and contents, with the kind as the class: what a
  /// classifier has to tell apart by texture and by outline. [count, 3, side, side]; `count` must be positive.
  public func kinds(_ count: Int = 2000) -> ImageDataset {
    let source = RandomSource(seed: seed)
    var random = source.derive(stream: 3)
    let pool = pool(using: &random)
    let (styles, names) = (Self.styleNames.count, Self.kindNames)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count * 3 * side * side)
    let classes = (0..<count).map { UInt16($0 % names.count) }
    for (index, number) in classes.enumerated() {
      var random = source.derive(stream: 4, UInt64(index))
      let kind = Int(number)
      let canvas = kind < styles ? style(kind, using: &random) : content(kind - styles, pool, using: &random)
      bytes += canvas.bytes(noise: 0.015, using: &random)
    }
    return known(
      try ImageDataset(
        name: "synthetic textures and pictures", channels: 3, height: side, width: side, pixels: .bytes(bytes),
        targets: .classes(classes, names: names)))
  }

  private func pool(using random: inout RandomSource) -> NoisePool {
    NoisePool(side: side, spacings: [5, 8, 14, 22].map { $0 * Float(side) / 64 }, using: &random)
  }

  // MARK: Styles

  /// Five colours from dark to light, most of one hue and some of its opposite.
  private func palette(using random: inout RandomSource) -> [Colour] {
    let hue = random.colour()
    let (strong, opposite) = (hue * 0.9 + 0.05, Colour(repeating: 1) - hue * 0.85)
    return [hue * 0.25, strong * 0.7, opposite, blend(strong, Colour(repeating: 1), 0.35), Colour(0.97, 0.94, 0.86)]
  }

  private func mix(_ palette: [Colour], _ position: Float) -> Colour {
    let scaled = max(0, min(0.9999, position)) * Float(palette.count - 1)
    let first = Int(scaled)
    return blend(palette[first], palette[first + 1], scaled - Float(first))
  }

  private func style(_ kind: Int, using random: inout RandomSource) -> SyntheticCanvas {
    let colours = palette(using: &random)
    var canvas = SyntheticCanvas(side: side)
    let extent = Float(side)
    func field(_ share: Float) -> [Float] {
      LatticeNoise(width: side, height: side, spacing: max(1, share * extent), using: &random).slice(0)
    }
    switch Self.styleNames[kind] {
    case "waves":
      let (bend, swell, direction) = (field(0.25), field(0.4), random.direction())
      canvas.fill { x, y in
        let along = turned(SIMD2(Float(x), Float(y)) / extent, direction)
        let crest = triangleWave(7 * along.y + 0.45 * bend[y * side + x])
        return mix(colours, smoothStep(0.5 + 0.42 * crest) * 0.8 + 0.12 * swell[y * side + x])
      }
    case "mosaic":
      mosaic(colours, onto: &canvas, using: &random)
    case "strokes":
      let (flow, light) = (field(0.3), field(0.22))
      canvas.fill { _, _ in colours[1] }
      for _ in 0..<900 {
        let place = SIMD2(random.uniform(in: 0...extent - 1), random.uniform(in: 0...extent - 1))
        let pixel = Int(place.y) * side + Int(place.x)
        let raw = SIMD2(1, 1.6 * flow[pixel])
        let (along, half) = (raw / length(raw), random.uniform(in: Float(0.03)...0.06) * extent)
        let colour = mix(colours, 0.5 + 0.3 * light[pixel] + 0.13 * random.roughNormal())
        canvas.paint(place, reach: half + 1, colour) {
          segmentDistance($0, along * -half, along * half) - 0.011 * extent
        }
      }
    case "dots":
      let (ground, size) = (field(0.35), field(0.18))
      canvas.fill { x, y in blend(colours[4], colours[3], smoothStep(0.5 + 0.5 * ground[y * side + x])) }
      let (direction, pitch) = (random.direction(), extent / 11)
      for row in -12...12 {
        for column in -12...12 {
          let place = turned(SIMD2(Float(column), Float(row)) * pitch, direction) + extent / 2
          guard place.x >= 0, place.y >= 0, place.x < extent, place.y < extent else { continue }
          let radius = pitch * max(0.12, min(0.48, 0.32 + 0.14 * size[Int(place.y) * side + Int(place.x)]))
          canvas.paint(place, reach: radius + 1, colours[(row + column) & 1 == 0 ? 1 : 2]) { length($0) - radius }
        }
      }
    case "marble":
      let (coarse, fine, cloud) = (field(0.22), field(0.08), field(0.3))
      canvas.fill { x, y in
        let pixel = y * side + x
        let vein = 1 - min(1, abs(coarse[pixel] + 0.3 * fine[pixel]) * 2.2)
        return blend(mix(colours, 0.75 + 0.14 * cloud[pixel]), colours[0], vein * vein * 0.9)
      }
    default:
      let (wear, pitch) = (field(0.1), extent / 9)
      canvas.fill { x, y in
        let (column, row) = ((Float(x) + 0.5) / pitch, (Float(y) + 0.5) / pitch)
        let isUp = (Int(column) + Int(row)) & 1 == 0
        let (across, along) = isUp ? (column, row) : (row, column)
        // Threads are round, and dip at their ends.
        let side01 = 1 - abs(triangleWave(across * 1))
        let shade = 0.55 + 0.45 * smoothStep(1.6 * side01) - 0.22 * max(0, triangleWave(along))
        return colours[isUp ? 2 : 3] * (shade + 0.05 * wear[y * side + x])
      }
    }
    return canvas
  }

  /// Cells of one colour each about points of a disturbed grid, with dark joints between.
  private func mosaic(_ colours: [Colour], onto canvas: inout SyntheticCanvas, using random: inout RandomSource) {
    let cells = 9
    let pitch = Float(side) / Float(cells - 2)
    let points = (0..<cells * cells).map { index in
      SIMD2(
        (Float(index % cells) - 0.5 + random.uniform(in: Float(-0.4)...0.4)) * pitch,
        (Float(index / cells) - 0.5 + random.uniform(in: Float(-0.4)...0.4)) * pitch)
    }
    let fills = points.map { _ in
      blend(colours[1 + random.integer(below: 4)], random.colour(), random.uniform(in: Float(0)...0.2))
    }
    canvas.fill { x, y in
      let place = SIMD2(Float(x), Float(y))
      let (column, row) = (Int(place.x / pitch) + 1, Int(place.y / pitch) + 1)
      var (nearest, next, cell) = (Float.infinity, Float.infinity, 0)
      for neighbourRow in max(0, row - 1)...min(cells - 1, row + 1) {
        for neighbourColumn in max(0, column - 1)...min(cells - 1, column + 1) {
          let index = neighbourRow * cells + neighbourColumn
          let distance = length(place - points[index])
          if distance < nearest {
            (next, nearest, cell) = (nearest, distance, index)
          } else if distance < next {
            next = distance
          }
        }
      }
      return blend(colours[0], fills[cell], smoothStep((next - nearest) / pitch * 7))
    }
  }

  // MARK: Contents

  private func content(_ kind: Int, _ pool: NoisePool, using random: inout RandomSource) -> SyntheticCanvas {
    let extent = Float(side)
    let horizon = random.uniform(in: Float(0.5)...0.68) * extent
    let light = random.uniform(in: Float(0.75)...1.1)
    let evening = random.uniform(in: Float(0)...0.7)
    let top = blend(Colour(0.25, 0.48, 0.85), Colour(0.35, 0.25, 0.55), evening) * light
    let low = blend(Colour(0.75, 0.87, 0.97), Colour(0.98, 0.7, 0.45), evening) * light
    let name = Self.contentNames[kind]
    let ground =
      (name == "boats"
        ? Colour(0.12, 0.35, 0.5)
        : blend(Colour(0.3, 0.52, 0.2), Colour(0.72, 0.6, 0.36), random.uniform(in: Float(0)...1)))
      * light
    let (clouds, ridge, grain) = (
      pool.patch(side: side, using: &random), pool.patch(side: side, using: &random),
      pool.patch(side: side, using: &random)
    )
    let hill = random.uniform(in: Float(0.02)...0.1) * extent
    let hillColour = blend(ground, low, 0.55)
    var canvas = SyntheticCanvas(side: side)
    canvas.fill { x, y in
      let depth = Float(y)
      if depth >= horizon {
        let nearness = (depth - horizon) / max(1, extent - horizon)
        return ground * (0.75 + 0.35 * nearness + 0.07 * grain[x, y])
      }
      if depth > horizon - hill * (1 + 0.8 * ridge[x, 0]) { return hillColour }
      let sky = blend(top, low, depth / horizon)
      return blend(sky, Colour(repeating: 0.96), smoothStep(clouds[x, y] - 0.5) * 0.7)
    }
    let sun = SIMD2(random.uniform(in: 0.1 * extent...0.9 * extent), random.uniform(in: 0.08 * extent...0.25 * extent))
    let sunRadius = 0.05 * extent
    canvas.paint(sun, reach: sunRadius, Colour(1, 0.93, 0.6)) { length($0) - sunRadius }
    let objects = 1 + random.integer(below: 3)
    for index in 0..<objects {
      // Farther ones first, which are smaller and higher up.
      let nearness = (Float(index) + random.uniform(in: Float(0.3)...0.9)) / Float(objects)
      let size = (0.13 + 0.17 * nearness) * extent
      let foot = SIMD2(
        random.uniform(in: 0.12 * extent...0.88 * extent), horizon + (0.04 + 0.8 * nearness) * (extent - horizon))
      switch name {
      case "houses": house(foot, size, onto: &canvas, using: &random)
      case "trees": tree(foot, size, onto: &canvas, using: &random)
      case "boats": boat(foot, size, onto: &canvas, using: &random)
      default: balloon(foot - SIMD2(0, 0.45 * extent), size, onto: &canvas, using: &random)
      }
    }
    return canvas
  }

  private func house(
    _ foot: SIMD2<Float>, _ size: Float, onto canvas: inout SyntheticCanvas, using random: inout RandomSource
  ) {
    let wall = random.colour(in: 0.55...0.95)
    let roof = blend(Colour(0.6, 0.2, 0.15), random.colour(), 0.35)
    let half = SIMD2(size * random.uniform(in: Float(0.6)...0.9), size * random.uniform(in: Float(0.45)...0.65))
    let middle = foot - SIMD2(0, half.y)
    canvas.paint(middle, reach: max(half.x, half.y), wall) { boxDistance($0, half) }
    let eaves = middle - SIMD2(0, half.y)
    let rise = size * random.uniform(in: Float(0.5)...0.8)
    canvas.paint(eaves, reach: half.x + rise, roof) { p in
      // A triangle that stands on the walls and is wider than them.
      max(p.y, (abs(p.x) * rise - (p.y + rise) * half.x * 1.2) / length(SIMD2(rise, half.x * 1.2)))
    }
    let dark = Colour(0.16, 0.17, 0.24)
    canvas.paint(foot - SIMD2(0, 0.22 * size), reach: size, dark) { boxDistance($0, SIMD2(0.1, 0.22) * size) }
    for place in [-0.58, 0.58] as [Float] {
      canvas.paint(middle + SIMD2(place * half.x, -0.12 * half.y), reach: size, dark) {
        boxDistance($0, SIMD2(0.12, 0.13) * size)
      }
    }
  }

  private func tree(
    _ foot: SIMD2<Float>, _ size: Float, onto canvas: inout SyntheticCanvas, using random: inout RandomSource
  ) {
    let leaf = blend(Colour(0.1, 0.38, 0.13), random.colour(in: 0.1...0.6), 0.35)
    canvas.paint(foot - SIMD2(0, 0.4 * size), reach: size, Colour(0.34, 0.22, 0.13)) {
      boxDistance($0, SIMD2(0.1, 0.42) * size)
    }
    if random.integer(below: 2) == 0 {
      for tier in 0..<3 {
        let (half, base) = ((0.72 - 0.16 * Float(tier)) * size, (0.45 + 0.45 * Float(tier)) * size)
        canvas.paint(foot - SIMD2(0, base), reach: size, leaf * (0.85 + 0.15 * Float(tier))) { p in
          max(p.y, (abs(p.x) * 0.75 * size - (p.y + 0.75 * size) * half) / length(SIMD2(0.75 * size, half)))
        }
      }
    } else {
      for _ in 0..<7 {
        let place = foot - SIMD2(random.uniform(in: Float(-0.45)...0.45), random.uniform(in: Float(0.85)...1.5)) * size
        let radius = random.uniform(in: Float(0.25)...0.42) * size
        canvas.paint(place, reach: radius, leaf * random.uniform(in: Float(0.8)...1.25)) { length($0) - radius }
      }
    }
  }

  private func boat(
    _ foot: SIMD2<Float>, _ size: Float, onto canvas: inout SyntheticCanvas, using random: inout RandomSource
  ) {
    let (hull, sail) = (random.colour(in: 0.1...0.6), random.colour(in: 0.7...1))
    canvas.paint(foot - SIMD2(0, 0.15 * size), reach: size, hull) { p in
      // Wider at the top.
      max(abs(p.y) - 0.18 * size, abs(p.x) - 0.75 * size + 0.9 * (p.y + 0.18 * size))
    }
    let mast = foot - SIMD2(0.05 * size, 0.3 * size)
    canvas.paint(mast, reach: 1.6 * size, Colour(0.3, 0.2, 0.12)) {
      segmentDistance($0, .zero, SIMD2(0, -1.45 * size)) - 0.035 * size
    }
    for (width, height, sign) in [(0.7, 1.35, 1), (0.5, 1.05, -1)] as [(Float, Float, Float)] {
      canvas.paint(mast - SIMD2(0, 0.08 * size), reach: 1.5 * size, sail * (sign > 0 ? 1 : 0.85)) { p in
        let x = sign * p.x - 0.06 * size
        return max(-x, p.y, (x * height - (p.y + height * size) * width) / length(SIMD2(height, width)))
      }
    }
  }

  private func balloon(
    _ middle: SIMD2<Float>, _ size: Float, onto canvas: inout SyntheticCanvas, using random: inout RandomSource
  ) {
    let (first, second) = (random.colour(in: 0.15...1), random.colour(in: 0.15...1))
    let radius = 0.8 * size
    for x in [-0.32, 0.32] as [Float] {
      canvas.paint(middle, reach: 2 * size, Colour(repeating: 0.2)) {
        segmentDistance($0, SIMD2(x, 0.7) * size, SIMD2(x * 0.5, 1.4) * size) - 0.025 * size
      }
    }
    canvas.paint(
      middle, reach: 1.2 * size,
      colour: { x, _ in triangleWave((Float(x) - middle.x) / (0.6 * size)) > 0 ? first : second },
      distance: { p in length(p.y > 0 ? SIMD2(p.x, p.y * 0.78) : p) - radius })
    canvas.paint(middle + SIMD2(0, 1.5 * size), reach: size, Colour(0.45, 0.3, 0.15)) {
      boxDistance($0, SIMD2(0.2, 0.14) * size)
    }
  }
}
