/// Turns partitions into grey values: cytoplasm, organelles, membranes, then what the microscope adds.
struct SyntheticPainter {
  private let width: Int
  private let height: Int
  private let cells: [SyntheticCell]
  private let halfWidth: Float
  private let shading: LatticeNoise
  private let contrast: LatticeNoise
  private let obliqueness: LatticeNoise
  private let bend: LatticeNoise

  init(
    width: Int, height: Int, slices: Int, cells: [SyntheticCell], halfWidth: Float,
    using random: inout RandomSource
  ) {
    self.width = width
    self.height = height
    self.cells = cells
    self.halfWidth = halfWidth
    func field(_ spacing: Float, _ sliceSpacing: Float) -> LatticeNoise {
      LatticeNoise(
        width: width, height: height, spacing: spacing, slices: slices, sliceSpacing: sliceSpacing,
        using: &random)
    }
    shading = field(90, 2)
    contrast = field(14, 2)
    obliqueness = field(26, 2)
    bend = field(9, 3)
  }

  /// The slice's grey values, whole numbers 0…255, [height, width].
  func paint(_ partition: SyntheticPartition, slice: Int, using random: inout RandomSource) -> [Float] {
    var grey = cytoplasm(partition, slice: slice, using: &random)
    paintMitochondria(onto: &grey, partition, slice: slice)
    paintVesicles(onto: &grey, partition, using: &random)
    paintMembranes(onto: &grey, partition, slice: slice)
    paintDensities(onto: &grey, partition, using: &random)
    return expose(grey, slice: slice, using: &random)
  }

  private func cytoplasm(
    _ partition: SyntheticPartition, slice: Int, using random: inout RandomSource
  ) -> [Float] {
    let coarse = LatticeNoise(width: width, height: height, spacing: 5, using: &random).slice(0)
    let fine = LatticeNoise(width: width, height: height, spacing: 2.2, using: &random).slice(0)
    return partition.cells.indices.map { pixel in
      // Squared: cytoplasm is bright with darker grains, not evenly mottled.
      let grain = max(0, coarse[pixel])
      return cells[Int(partition.cells[pixel])].grey - 0.045 * grain * grain + 0.035 * fine[pixel]
    }
  }

  private func paintMembranes(onto grey: inout [Float], _ partition: SyntheticPartition, slice: Int) {
    let contrast = contrast.slice(slice)
    let obliqueness = obliqueness.slice(slice)
    for pixel in grey.indices {
      // Where a membrane is cut at a slant it looks wide and faint.
      let slant = max(0, min(1, obliqueness[pixel] - 0.8))
      let depth = max(0.11, min(0.46, 0.32 + 0.08 * contrast[pixel])) * (1 - 0.45 * slant)
      let t = partition.borderDistance[pixel] / (halfWidth * (0.95 + 0.9 * slant))
      let square = t * t
      grey[pixel] -= depth * min(1, max(0, grey[pixel] * 1.7)) / (1 + square * square)
    }
  }

  private func paintMitochondria(onto grey: inout [Float], _ partition: SyntheticPartition, slice: Int) {
    let bend = bend.slice(slice)
    for (index, cell) in cells.enumerated() {
      guard let body = cell.mitochondrion else { continue }
      let height01 = (Float(slice) - body.middleSlice) / body.halfSlices
      let size = (max(0, 1 - height01 * height01)).squareRoot()
      if size < 0.4 { continue }
      let section = cell.sections[slice]
      let (centreX, centreY) = (section.x + body.offset.x, section.y + body.offset.y)
      forEachPixel(around: (centreX, centreY), radius: body.halfLength + 14) { x, y in
        let pixel = y * width + x
        if partition.cells[pixel] != Int32(index) { return }
        let margin = (partition.borderDistance[pixel] - halfWidth) / 3
        if margin <= 0 { return }
        let dx = Float(x) - centreX + 1.2 * bend[pixel]
        let dy = Float(y) - centreY
        let along = (dx * body.axis.x + dy * body.axis.y) / (body.halfLength * size)
        let across = (dy * body.axis.x - dx * body.axis.y) / (body.halfWidth * size)
        let radius = (along * along + across * across).squareRoot()
        let inside = smoothStep((1.12 - radius) * 4) * min(1, margin)
        if inside <= 0 { return }
        // Cristae: stripes about 5 pixels apart across the body, bent a little.
        let stripe = triangleWave(
          (across * body.halfWidth + 2.2 * bend[pixel]) / 5 + body.stripePhase)
        let rim = smoothStep(1 - abs(radius - 0.97) * 6)
        let dark = 0.37 + 0.07 * stripe - 0.12 * rim
        grey[pixel] += (dark - grey[pixel]) * inside
      }
    }
  }

  /// Small rings with a pale middle, crowded in some cells.
  private func paintVesicles(
    onto grey: inout [Float], _ partition: SyntheticPartition, using random: inout RandomSource
  ) {
    for _ in 0..<width * height / 90 {
      let x = random.uniform(in: 0...Float(width - 1))
      let y = random.uniform(in: 0...Float(height - 1))
      let radius = random.uniform(in: Float(1.8)...3.4)
      let depth = random.uniform(in: Float(0.12)...0.26)
      let stray = random.uniform() < 0.12
      let middle = Int(y) * width + Int(x)
      let cell = cells[Int(partition.cells[middle])]
      if !cell.holdsVesicles && !stray { continue }
      if partition.borderDistance[middle] < halfWidth + radius + 1 { continue }
      forEachPixel(around: (x, y), radius: radius + 2) { column, row in
        let (dx, dy) = (Float(column) - x, Float(row) - y)
        let offset = (dx * dx + dy * dy).squareRoot() - radius
        let ring = max(0, 1 - offset * offset / 1.7)
        let core: Float = offset < -0.8 ? 0.05 : 0
        grey[row * width + column] += core - depth * ring * ring
      }
    }
  }

  /// Dark clouds on membranes, where synapses lie.
  private func paintDensities(
    onto grey: inout [Float], _ partition: SyntheticPartition, using random: inout RandomSource
  ) {
    for _ in 0..<max(1, width * height / 900) {
      let x = random.uniform(in: 0...Float(width - 1))
      let y = random.uniform(in: 0...Float(height - 1))
      let radius = random.uniform(in: Float(5)...12)
      let depth = random.uniform(in: Float(0.08)...0.26)
      if partition.borderDistance[Int(y) * width + Int(x)] > halfWidth * 0.7 { continue }
      forEachPixel(around: (x, y), radius: radius) { column, row in
        let pixel = row * width + column
        let (dx, dy) = (Float(column) - x, Float(row) - y)
        let near = max(0, 1 - (dx * dx + dy * dy) / (radius * radius))
        let membrane = max(0, 1 - partition.borderDistance[pixel] / 9)
        grey[pixel] -= depth * near * membrane * min(1, grey[pixel] * 1.7)
      }
    }
  }

  /// Shading, contrast of the slice, correlated noise, eight bits.
  private func expose(_ grey: [Float], slice: Int, using random: inout RandomSource) -> [Float] {
    let shading = shading.slice(slice)
    let gain = random.uniform(in: Float(0.86)...1.16)
    let offset = random.uniform(in: Float(-0.07)...0.03)
    let noise = random.uniform(in: Float(0.05)...0.075)
    var white = [Float](repeating: 0, count: grey.count)
    for pixel in white.indices { white[pixel] = random.roughNormal() }
    let blurred = smooth(white)
    let sharp = smooth(grey)
    return grey.indices.map { pixel in
      // Half of the blur for the picture, all of it for the noise, whose deviation shrinks to 0.375.
      let signal = 0.5 * (grey[pixel] + sharp[pixel])
      let exposed = (signal - 0.5) * gain + 0.5 + offset + 0.05 * shading[pixel]
      let value = exposed + noise * (2.2 * blurred[pixel] + 0.35 * white[pixel])
      return max(0, min(255, (value * 255).rounded()))
    }
  }

  /// Weighted means over 3×3 pixels (1 2 1 along each axis), the edge pixel repeated.
  private func smooth(_ values: [Float]) -> [Float] {
    var rows = values
    var result = values
    for y in 0..<height {
      for x in 0..<width {
        let row = y * width
        rows[row + x] =
          0.25 * (values[row + max(x - 1, 0)] + values[row + min(x + 1, width - 1)])
          + 0.5 * values[row + x]
      }
    }
    for y in 0..<height {
      let (above, below) = (max(y - 1, 0) * width, min(y + 1, height - 1) * width)
      for x in 0..<width {
        result[y * width + x] = 0.25 * (rows[above + x] + rows[below + x]) + 0.5 * rows[y * width + x]
      }
    }
    return result
  }

  private func forEachPixel(
    around centre: (x: Float, y: Float), radius: Float, _ body: (_ x: Int, _ y: Int) -> Void
  ) {
    let top = max(0, Int(centre.y - radius))
    let bottom = min(height - 1, Int(centre.y + radius) + 1)
    let left = max(0, Int(centre.x - radius))
    let right = min(width - 1, Int(centre.x + radius) + 1)
    if top > bottom || left > right { return }
    for y in top...bottom {
      for x in left...right { body(x, y) }
    }
  }
}

/// 0 below 0, 1 above 1, smooth between.
func smoothStep(_ t: Float) -> Float {
  let t = max(0, min(1, t))
  return t * t * (3 - 2 * t)
}

/// A wave of period 1 between −1 and 1.
func triangleWave(_ position: Float) -> Float {
  let phase = position - position.rounded(.down)
  return 4 * abs(phase - 0.5) - 1
}
