/// The partition of one synthetic slice into cells.
struct SyntheticPartition {
  /// The cell of each pixel, [height, width].
  var cells: [Int32]
  /// The distance to the border with the next cell, in pixels divided by the local membrane width.
  var borderDistance: [Float]

  /// Side of the squares that share one list of cells that matter.
  private static let tile = 16

  /// Divides a slice among the cells: every pixel belongs to the cell whose rim is nearest.
  ///
  /// A Voronoi diagram with a size and an ellipse per cell, over coordinates displaced by `bendX` and `bendY`,
  /// which curves its borders.
  ///
  /// - Parameter membraneWidth: relative width of the membrane at each pixel.
  init(
    cells all: [SyntheticCell], slice: Int, width: Int, height: Int, bendX: [Float], bendY: [Float],
    membraneWidth: [Float]
  ) {
    cells = [Int32](repeating: 0, count: width * height)
    borderDistance = [Float](repeating: 0, count: width * height)
    let tile = Self.tile
    for top in stride(from: 0, to: height, by: tile) {
      for left in stride(from: 0, to: width, by: tile) {
        let rows = top..<min(top + tile, height)
        let columns = left..<min(left + tile, width)
        let near = Self.candidates(
          all, slice: slice, rows: rows, columns: columns, width: width, bendX: bendX, bendY: bendY)
        for y in rows {
          for x in columns {
            let pixel = y * width + x
            let (cell, distance) = Self.nearest(
              among: near, all, slice: slice, x: Float(x) + bendX[pixel], y: Float(y) + bendY[pixel])
            cells[pixel] = cell
            borderDistance[pixel] = distance / membraneWidth[pixel]
          }
        }
      }
    }
  }

  /// The cells that can be nearest or second nearest somewhere in a tile.
  private static func candidates(
    _ all: [SyntheticCell], slice: Int, rows: Range<Int>, columns: Range<Int>, width: Int,
    bendX: [Float], bendY: [Float]
  ) -> [Int32] {
    var (leastX, greatestX) = (Float.greatestFiniteMagnitude, -Float.greatestFiniteMagnitude)
    var (leastY, greatestY) = (leastX, greatestX)
    for y in rows {
      for x in columns {
        let (placeX, placeY) = (Float(x) + bendX[y * width + x], Float(y) + bendY[y * width + x])
        (leastX, greatestX) = (min(leastX, placeX), max(greatestX, placeX))
        (leastY, greatestY) = (min(leastY, placeY), max(greatestY, placeY))
      }
    }
    let (extentX, extentY) = ((greatestX - leastX) / 2, (greatestY - leastY) / 2)
    let reach = (extentX * extentX + extentY * extentY).squareRoot()
    // A distance changes by at most `stretch` per pixel, which bounds it over the tile.
    let centres = all.map {
      $0.distance((leastX + greatestX) / 2, (leastY + greatestY) / 2, slice: slice).value
    }
    var (nearest, second) = (Float.greatestFiniteMagnitude, Float.greatestFiniteMagnitude)
    for (cell, centre) in zip(all, centres) {
      let greatest = centre + cell.stretch * reach
      if greatest < nearest {
        (nearest, second) = (greatest, nearest)
      } else {
        second = min(second, greatest)
      }
    }
    return all.indices.filter { centres[$0] - all[$0].stretch * reach <= second }.map(Int32.init)
  }

  @inline(__always)
  private static func nearest(
    among candidates: [Int32], _ all: [SyntheticCell], slice: Int, x: Float, y: Float
  ) -> (cell: Int32, distance: Float) {
    var (best, bestValue) = (Int32(0), Float.greatestFiniteMagnitude)
    var secondValue = Float.greatestFiniteMagnitude
    var (bestGradient, secondGradient) = (SIMD2<Float>(0, 0), SIMD2<Float>(0, 0))
    for candidate in candidates {
      let (value, gradient) = all[Int(candidate)].distance(x, y, slice: slice)
      if value < bestValue {
        (secondValue, secondGradient) = (bestValue, bestGradient)
        (best, bestValue, bestGradient) = (candidate, value, gradient)
      } else if value < secondValue {
        (secondValue, secondGradient) = (value, gradient)
      }
    }
    // To first order, a difference of two fields is as far from its zero as its value over its slope.
    let slope = secondGradient - bestGradient
    let steepness = max(0.3, (slope.x * slope.x + slope.y * slope.y).squareRoot())
    return (best, (secondValue - bestValue) / steepness)
  }
}
