/// One of the 8 symmetries of the square: optional transposition, then optional mirroring of each axis.
package struct Symmetry: Equatable, Sendable {
  /// 0 ..< 8; bit 0 mirrors columns, bit 1 mirrors rows, bit 2 transposes.
  package let index: Int

  package static let identity = Symmetry(index: 0)
  package static let all = (0..<8).map { Symmetry(index: $0) }

  package var mirrorsColumns: Bool { index & 1 != 0 }
  package var mirrorsRows: Bool { index & 2 != 0 }
  package var transposes: Bool { index & 4 != 0 }

  private var signX: Int { mirrorsColumns ? -1 : 1 }
  private var signY: Int { mirrorsRows ? -1 : 1 }

  /// The matrix that takes an offset from the crop's centre, (x, y), to the offset to read from.
  var matrix: (xx: Int, xy: Int, yx: Int, yy: Int) {
    transposes ? (0, signX, signY, 0) : (signX, 0, 0, signY)
  }

  /// Copies a square crop out of one plane, moved by this symmetry.
  ///
  /// - Parameters:
  ///   - source: the plane, row by row, `width` columns.
  ///   - origin: the crop's upper left corner in the plane.
  ///   - side: the crop's side.
  ///   - target: side × side elements.
  func copy<Element>(
    from source: UnsafePointer<Element>, width: Int, origin: (x: Int, y: Int), side: Int,
    to target: UnsafeMutablePointer<Element>
  ) {
    let matrix = matrix
    let stepX = matrix.xx + matrix.yx * width
    let stepY = matrix.xy + matrix.yy * width
    let startX = matrix.xx + matrix.xy > 0 ? origin.x : origin.x + side - 1
    let startY = matrix.yx + matrix.yy > 0 ? origin.y : origin.y + side - 1
    let start = source + startY * width + startX
    if stepX == 1 {
      for y in 0..<side {
        (target + y * side).update(from: start + y * stepY, count: side)
      }
      return
    }
    // In squares, so that reading along columns uses each cache line while it is there.
    let block = 32
    for top in stride(from: 0, to: side, by: block) {
      for left in stride(from: 0, to: side, by: block) {
        for y in top..<min(top + block, side) {
          let row = start + y * stepY
          for x in left..<min(left + block, side) {
            target[y * side + x] = row[x * stepX]
          }
        }
      }
    }
  }
}
