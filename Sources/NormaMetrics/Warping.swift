/// The warping error: mismatches that remain when the truth is deformed towards the proposal as far as possible
/// without a change of topology. It counts splits, merges, holes and lost objects, not shifted borders.
///
/// Starting from the truth, simple points that differ from the proposal are flipped, those with the largest |p − t|
/// first, until no flip lowers the number of mismatches. A point is simple when flipping it changes no topology,
/// with 4 neighbours for the foreground and 8 for the background; outside of the slice is background. The error
/// is the number of remaining mismatches over the pixels that count.
///
/// Source: Jain et al., "Boundary learning by optimization with topological constraints", CVPR 2010.
public enum Warping {
  /// Whether flipping the centre of a 3×3 neighbourhood keeps the topology, whatever the centre is.
  ///
  /// - Parameter neighbours: the foreground among the eight neighbours, as bits 0…7 in the order right, upper right,
  ///   up, upper left, left, lower left, down, lower right.
  public static func isSimple(neighbours: UInt8) -> Bool { simple[Int(neighbours)] }

  /// By Yokoi's number of 4-connectivity: Σ x_k − x_k x_{k+1} x_{k+2} over the four nearest neighbours k counts the
  /// foreground components that touch the centre, and is 0 in the interior. The centre is simple where it is 1.
  private static let simple: [Bool] = (0..<256).map { pattern in
    func bit(_ index: Int) -> Int { pattern >> (index & 7) & 1 }
    return [0, 2, 4, 6].reduce(0) { $0 + bit($1) - bit($1) * bit($1 + 1) * bit($1 + 2) } == 1
  }

  /// The pixels that differ from the proposal after warping, by their index in the slice.
  ///
  /// - Parameters:
  ///   - truth: [height, width] by rows, true for foreground.
  ///   - probabilities: of the foreground, [height, width] by rows.
  ///   - threshold: the proposal's foreground is where the probability is larger.
  ///   - ignored: true for pixels that keep their truth and do not count.
  public static func mismatches(
    truth: [Bool], probabilities: [Float], threshold: Float, height: Int, width: Int, ignored: [Bool]? = nil
  ) -> [Int] {
    checkSize(truth.count, "truth", height: height, width: width)
    checkSize(probabilities.count, "probabilities", height: height, width: width)
    if let ignored { checkSize(ignored.count, "the ignore mask", height: height, width: width) }
    let stride = width + 2
    var warped = [UInt8](repeating: 0, count: (height + 2) * stride)
    var differs = [Bool](repeating: false, count: (height + 2) * stride)
    var all: [Int] = []
    for y in 0..<height {
      for x in 0..<width {
        let pixel = y * width + x
        let place = (y + 1) * stride + x + 1
        warped[place] = truth[pixel] ? 1 : 0
        if truth[pixel] != (probabilities[pixel] > threshold), ignored?[pixel] != true {
          differs[place] = true
          all.append(pixel)
        }
      }
    }
    /// Bits in the order of `isSimple(neighbours:)`.
    let around = [1, 1 - stride, -stride, -stride - 1, -1, stride - 1, stride, stride + 1]
    let table = simple
    warped.withUnsafeMutableBufferPointer { warped in
      differs.withUnsafeMutableBufferPointer { differs in
        func isSimple(_ place: Int) -> Bool {
          var pattern = 0
          for (bit, offset) in around.enumerated() { pattern |= Int(warped[place + offset]) << bit }
          return table[pattern]
        }
        var queue = Queue()
        func offer(_ place: Int) {
          let pixel = (place / stride - 1) * width + place % stride - 1
          queue.insert(Candidate(distance: abs(probabilities[pixel] - threshold), place: place))
        }
        for pixel in all {
          let place = Segmentation.framedIndex(pixel, width: width)
          if isSimple(place) { offer(place) }
        }
        // A point may be in the queue more than once, or no longer be simple; it is looked at again when it comes.
        while let candidate = queue.removeFirst() {
          let place = candidate.place
          guard differs[place], isSimple(place) else { continue }
          warped[place] ^= 1
          differs[place] = false
          for offset in around where differs[place + offset] && isSimple(place + offset) { offer(place + offset) }
        }
      }
    }
    return all.filter { differs[Segmentation.framedIndex($0, width: width)] }
  }

  private struct Candidate {
    let distance: Float
    let place: Int

    func isBefore(_ other: Candidate) -> Bool {
      distance > other.distance || (distance == other.distance && place < other.place)
    }
  }

  /// A binary heap.
  private struct Queue {
    private var heap: [Candidate] = []

    mutating func insert(_ candidate: Candidate) {
      heap.append(candidate)
      var child = heap.count - 1
      while child > 0, heap[child].isBefore(heap[(child - 1) / 2]) {
        heap.swapAt(child, (child - 1) / 2)
        child = (child - 1) / 2
      }
    }

    mutating func removeFirst() -> Candidate? {
      guard let first = heap.first, let last = heap.popLast() else { return nil }
      if heap.isEmpty { return first }
      heap[0] = last
      var parent = 0
      while 2 * parent + 1 < heap.count {
        var child = 2 * parent + 1
        if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
        guard heap[child].isBefore(heap[parent]) else { break }
        heap.swapAt(child, parent)
        parent = child
      }
      return first
    }
  }
}
