/// Where one sample's pixels go.
struct SampleTarget {
  /// [channels, side, side].
  let image: UnsafeMutablePointer<Float>
  /// [side, side].
  let labels: UnsafeMutablePointer<UInt8>
  /// [side, side], or `nil` without weights.
  let weights: UnsafeMutablePointer<Float>?
}

/// Cuts square samples out of a dataset's slices and transforms them.
struct SampleRenderer {
  let dataset: SegmentationDataset
  let side: Int
  let weighting: BorderWeighting?

  private let classWeights: [Float]
  private let elasticWeights: [Float]

  init(dataset: SegmentationDataset, side: Int, weighting: BorderWeighting?) {
    self.dataset = dataset
    self.side = side
    self.weighting = weighting
    classWeights = dataset.classWeightTable
    elasticWeights = ElasticGrid.weights(count: side)
  }

  /// Writes the sample whose crop has its upper left corner at `origin`.
  ///
  /// A warp reads from the whole slice, and from its mirror image beyond the slice's edge (the
  /// edge pixel itself is not repeated). Images and border weights are interpolated bilinearly, labels taken
  /// from the nearest pixel.
  func render(page: Int, origin: (x: Int, y: Int), transform: SampleTransform, to target: SampleTarget) {
    let storage = dataset.storage
    let area = dataset.height * dataset.width
    let stackPage = dataset.stackPage(page)
    let border = weighting.map { dataset.borderMap(page: page, weighting: $0) } ?? []
    storage.images.withUnsafeBufferPointer { images in
      storage.labels.withUnsafeBufferPointer { labels in
        border.withUnsafeBufferPointer { border in
          let source = Source(
            image: images.baseAddress! + stackPage * dataset.channels * area,
            labels: labels.baseAddress! + stackPage * area, border: border.baseAddress)
          if transform.isExact {
            copy(source, origin, transform.symmetry, to: target)
          } else {
            warp(source, origin, transform, to: target)
          }
        }
      }
    }
    let count = dataset.channels * side * side
    transform.grey.apply(to: UnsafeMutableBufferPointer(start: target.image, count: count))
    if let weights = target.weights { addClassWeights(to: weights, labels: target.labels) }
  }

  /// One slice's planes.
  private struct Source {
    let image: UnsafePointer<Float>
    let labels: UnsafePointer<UInt8>
    let border: UnsafePointer<Float>?
  }

  private func copy(
    _ source: Source, _ origin: (x: Int, y: Int), _ symmetry: Symmetry, to target: SampleTarget
  ) {
    let (width, area) = (dataset.width, dataset.height * dataset.width)
    for channel in 0..<dataset.channels {
      symmetry.copy(
        from: source.image + channel * area, width: width, origin: origin, side: side,
        to: target.image + channel * side * side)
    }
    symmetry.copy(from: source.labels, width: width, origin: origin, side: side, to: target.labels)
    if let border = source.border, let weights = target.weights {
      symmetry.copy(from: border, width: width, origin: origin, side: side, to: weights)
    }
  }

  private func warp(
    _ source: Source, _ origin: (x: Int, y: Int), _ transform: SampleTransform, to target: SampleTarget
  ) {
    let (height, width) = (dataset.height, dataset.width)
    let plane = Plane(height: height, width: width)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * side) { coordinates in
      let xs = coordinates.baseAddress!
      let ys = xs + side
      for row in 0..<side {
        fillCoordinates(row: row, origin: origin, transform: transform, xs: xs, ys: ys)
        mirror(xs, count: side, extent: width)
        mirror(ys, count: side, extent: height)
        let start = row * side
        for channel in 0..<dataset.channels {
          let image = source.image + channel * height * width
          plane.interpolate(image, xs, ys, to: target.image + channel * side * side + start, count: side)
        }
        plane.nearest(source.labels, xs, ys, to: target.labels + start, count: side)
        if let border = source.border, let weights = target.weights {
          plane.interpolate(border, xs, ys, to: weights + start, count: side)
        }
      }
    }
  }

  /// The places in the slice that one output row reads from.
  private func fillCoordinates(
    row: Int, origin: (x: Int, y: Int), transform: SampleTransform,
    xs: UnsafeMutablePointer<Float>, ys: UnsafeMutablePointer<Float>
  ) {
    let middle = Float(side - 1) / 2
    let map = transform.composed
    let v = Float(row) - middle
    let startX = Float(origin.x) + middle + transform.shift.x + map.xy * v
    let startY = Float(origin.y) + middle + transform.shift.y + map.yy * v
    let side = side
    for x in 0..<side {
      let u = Float(Int32(truncatingIfNeeded: x)) - middle
      xs[x] = startX + map.xx * u
      ys[x] = startY + map.yx * u
    }
    if transform.elastic.isEmpty { return }
    let grid = transform.elastic
    elasticWeights.withUnsafeBufferPointer { weights in
      for column in 0..<3 {
        var (nodeX, nodeY) = (Float(0), Float(0))
        for node in 0..<3 {
          nodeX += weights[node * side + row] * grid.x[3 * node + column]
          nodeY += weights[node * side + row] * grid.y[3 * node + column]
        }
        let along = weights.baseAddress! + column * side
        for x in 0..<side {
          xs[x] += nodeX * along[x]
          ys[x] += nodeY * along[x]
        }
      }
    }
  }

  private func addClassWeights(to weights: UnsafeMutablePointer<Float>, labels: UnsafeMutablePointer<UInt8>) {
    classWeights.withUnsafeBufferPointer { table in
      for pixel in 0..<side * side {
        let label = labels[pixel]
        weights[pixel] =
          label == SegmentationDataset.ignoredClass ? 0 : weights[pixel] + table[Int(label)]
      }
    }
  }
}

/// Reflects coordinates into 0 … extent − 1 at the first and the last pixel.
func mirror(_ coordinates: UnsafeMutablePointer<Float>, count: Int, extent: Int) {
  let last = Float(extent - 1)
  if extent == 1 {
    for index in 0..<count { coordinates[index] = 0 }
    return
  }
  // Far outside, a coordinate says nothing any more; the bound keeps its conversion below in range.
  let bound: Float = 0x1p20
  let period = 2 * last
  let inverse = 1 / period
  for index in 0..<count {
    let distance = min(abs(coordinates[index]), bound)
    let whole = Float(Int32(truncatingIfNeeded: Int(distance * inverse)))
    let rest = distance - whole * period
    coordinates[index] = max(0, min(rest, period - rest))
  }
}

/// Reads a plane at real coordinates that lie inside it.
private struct Plane {
  let height: Int
  let width: Int

  @inline(__always)
  func interpolate(
    _ plane: UnsafePointer<Float>, _ xs: UnsafePointer<Float>, _ ys: UnsafePointer<Float>,
    to target: UnsafeMutablePointer<Float>, count: Int
  ) {
    let right = width > 1 ? 1 : 0
    let below = height > 1 ? width : 0
    let (greatestX, greatestY) = (max(width - 2, 0), max(height - 2, 0))
    for index in 0..<count {
      let x = min(Int(xs[index]), greatestX)
      let y = min(Int(ys[index]), greatestY)
      let fx = xs[index] - Float(x)
      let fy = ys[index] - Float(y)
      let corner = plane + (y &* width &+ x)
      // Written with both weights so that whole coordinates give back the pixel exactly.
      let upper = corner[0] * (1 - fx) + corner[right] * fx
      let lower = corner[below] * (1 - fx) + corner[below &+ right] * fx
      target[index] = upper * (1 - fy) + lower * fy
    }
  }

  @inline(__always)
  func nearest(
    _ plane: UnsafePointer<UInt8>, _ xs: UnsafePointer<Float>, _ ys: UnsafePointer<Float>,
    to target: UnsafeMutablePointer<UInt8>, count: Int
  ) {
    for index in 0..<count {
      let x = Int(xs[index] + 0.5)
      let y = Int(ys[index] + 0.5)
      target[index] = plane[y &* width &+ x]
    }
  }
}
