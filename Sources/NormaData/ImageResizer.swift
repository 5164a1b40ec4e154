import NormaFormats

/// Brings pictures of any size to a square: the shorter side to the side of the square, then the middle of the longer.
enum ImageResizer {
  /// The square of a picture's middle.
  ///
  /// Linear interpolation; when a picture shrinks, the triangle of its weights is widened by the same factor, so that every
  /// pixel counts and no pattern appears that is not there.
  ///
  /// - Parameters:
  ///   - channels: how many of the picture's channels to take, from the first on.
  /// - Returns: [channels, side, side], in the picture's own values.
  static func square(_ picture: ImageStack, channels: Int, side: Int) -> [Float] {
    let (height, width) = (picture.height, picture.width)
    let shorter = min(height, width)
    func axis(_ extent: Int) -> Axis {
      let resized = extent == shorter ? side : max(side, (extent * side + shorter / 2) / shorter)
      let first = (resized - side) / 2
      return Axis(from: extent, to: resized, part: first..<first + side)
    }
    let (rows, columns) = (axis(height), axis(width))
    let needed = rows.taps[0].lowerBound..<rows.taps[side - 1].upperBound
    var result = [Float](repeating: 0, count: channels * side * side)
    var narrow = [Float](repeating: 0, count: needed.count * side)
    picture.values.withUnsafeBufferPointer { values in
      for channel in 0..<channels {
        for y in needed {
          let line = values.baseAddress! + (channel * height + y) * width
          for x in 0..<side {
            narrow[(y - needed.lowerBound) * side + x] = columns.blend(x) { line[$0] }
          }
        }
        narrow.withUnsafeBufferPointer { narrow in
          for y in 0..<side {
            for x in 0..<side {
              result[(channel * side + y) * side + x] = rows.blend(y) { narrow[($0 - needed.lowerBound) * side + x] }
            }
          }
        }
      }
    }
    return result
  }

  /// Which pixels along one axis make each new one, and with which weights.
  private struct Axis {
    var taps: [Range<Int>] = []
    private var starts: [Int] = []
    private var weights: [Float] = []

    init(from extent: Int, to resized: Int, part: Range<Int>) {
      let scale = Double(extent) / Double(resized)
      let reach = max(1, scale)
      for place in part {
        let middle = (Double(place) + 0.5) * scale
        let first = max(0, Int(middle - reach + 0.5))
        let end = min(extent, Int(middle + reach + 0.5))
        let line = (first..<end).map { max(0, 1 - abs(Double($0) + 0.5 - middle) / reach) }
        let sum = line.reduce(0, +)
        taps.append(first..<end)
        starts.append(weights.count)
        weights += line.map { Float($0 / sum) }
      }
    }

    @inline(__always)
    func blend(_ place: Int, _ value: (Int) -> Float) -> Float {
      var sum: Float = 0
      var weight = starts[place]
      for tap in taps[place] {
        sum += weights[weight] * value(tap)
        weight += 1
      }
      return sum
    }
  }
}
