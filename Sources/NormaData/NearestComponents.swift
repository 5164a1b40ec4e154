/// The exact Euclidean distances from every pixel to the nearest two components.
///
/// Separable like the transform of Felzenszwalb and Huttenlocher ("Distance transforms of sampled
/// functions", Theory of Computing 8, 2012): columns first, then rows. Instead of one transform per component,
/// every pixel carries its two nearest components. Two per column are enough: a component that is only third
/// in its column has two nearer ones in that same column.
enum NearestComponents {
  /// The two nearest components of a pixel with squared distances; component 0 stands for none.
  struct Pair {
    var first: Int32 = 0
    var second: Int32 = 0
    var firstSquare = Int32.max
    var secondSquare = Int32.max

    @inline(__always)
    mutating func offer(_ component: Int32, _ square: Int32) {
      if square < firstSquare {
        if component != first {
          second = first
          secondSquare = firstSquare
        }
        first = component
        firstSquare = square
      } else if component != first && square < secondSquare {
        second = component
        secondSquare = square
      }
    }
  }

  /// The nearest two components of every pixel, [height, width].
  ///
  /// - Parameter components: 0 outside, component numbers inside, [height, width]; sides up to 32,000.
  static func pairs(components: [Int32], height: Int, width: Int) -> [Pair] {
    precondition(height <= 32_000 && width <= 32_000, "squared distances must fit into 32 bits")
    let columns = columnPairs(components: components, height: height, width: width)
    return [Pair](unsafeUninitializedCapacity: height * width) { result, count in
      columns.withUnsafeBufferPointer { columns in
        for y in 0..<height {
          let row = UnsafeBufferPointer(rebasing: columns[y * width..<(y + 1) * width])
          for x in 0..<width {
            (result.baseAddress! + y * width + x).initialize(to: nearest(to: x, in: row, width: width))
          }
        }
      }
      count = height * width
    }
  }

  /// Looks outwards from `x` until no column can hold anything nearer than the second component found.
  @inline(__always)
  private static func nearest(to x: Int, in row: UnsafeBufferPointer<Pair>, width: Int) -> Pair {
    var best = row[x]
    var offset = 1
    let farthest = max(x, width - 1 - x)
    while offset <= farthest {
      let square = Int32(truncatingIfNeeded: offset &* offset)
      if square >= best.secondSquare { break }
      if x >= offset { offer(row[x - offset], square, to: &best) }
      if x + offset < width { offer(row[x + offset], square, to: &best) }
      offset += 1
    }
    return best
  }

  @inline(__always)
  private static func offer(_ column: Pair, _ square: Int32, to best: inout Pair) {
    if column.first == 0 { return }
    best.offer(column.first, column.firstSquare &+ square)
    if column.second == 0 { return }
    best.offer(column.second, column.secondSquare &+ square)
  }

  /// The nearest two components within the same column, from one sweep down and one up.
  private static func columnPairs(components: [Int32], height: Int, width: Int) -> [Pair] {
    var result = [Pair](repeating: Pair(), count: height * width)
    for rows in [Array(0..<height), Array((0..<height).reversed())] {
      var recent = [Recent](repeating: Recent(), count: width)
      result.withUnsafeMutableBufferPointer { result in
        recent.withUnsafeMutableBufferPointer { recent in
          for y in rows {
            for x in 0..<width {
              let component = components[y * width + x]
              if component != 0 { recent[x].meet(component, row: Int32(y)) }
              recent[x].offer(to: &result[y * width + x], row: Int32(y))
            }
          }
        }
      }
    }
    return result
  }

  /// The last two different components that a sweep met in one column.
  private struct Recent {
    var first: Int32 = 0
    var second: Int32 = 0
    var firstRow: Int32 = 0
    var secondRow: Int32 = 0

    @inline(__always)
    mutating func meet(_ component: Int32, row: Int32) {
      if component != first {
        second = first
        secondRow = firstRow
        first = component
      }
      firstRow = row
    }

    @inline(__always)
    func offer(to pair: inout Pair, row: Int32) {
      if first == 0 { return }
      pair.offer(first, (row - firstRow) &* (row - firstRow))
      if second == 0 { return }
      pair.offer(second, (row - secondRow) &* (row - secondRow))
    }
  }
}
