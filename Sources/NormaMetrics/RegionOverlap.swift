#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// How the segments of a proposal overlap the regions of the truth, and the scores that follow: V_Rand and V_Info of
/// the ISBI 2012 challenge, each with the part that drops when regions are split and the one that drops when they
/// are merged.
///
/// Over the n pixels whose truth is not 0, p_ij is the share in truth region i ≥ 1 and segment j. Pixels of the
/// proposal with label 0 are segments of one pixel each; z is their share. With a_i = Σ_j p_ij and b_j = Σ_i p_ij:
///
/// - A² = Σ a_i², B² = Σ_{j≥1} b_j² + z/n, AB² = Σ_{j≥1} p_ij² + z/n; V_Rand = 2 AB² / (A² + B²)
/// - S_A = Σ a_i ln a_i, S_B = Σ_{j≥1} b_j ln b_j − z ln n, S_AB = Σ_{j≥1} p_ij ln p_ij − z ln n,
///   I = S_AB − S_A − S_B; V_Info = 2 I / (−S_A − S_B)
///
/// All scores lie in 0…1, 1 is the best, and 0/0 counts as 1. Sources: Arganda-Carreras et al., "Crowdsourcing the
/// creation of image segmentation algorithms for connectomics", Frontiers in Neuroanatomy 9:142, 2015; the index
/// itself is Rand's, "Objective criteria for the evaluation of clustering methods", JASA 66, 1971.
public struct RegionOverlap: Sendable, Equatable {
  /// Number of pixels that count.
  public let pixels: Int
  /// A², B² and AB² times n²: numbers of ordered pairs of pixels.
  public let truthPairs: Int
  public let proposalPairs: Int
  public let jointPairs: Int
  /// −S_A and −S_B, in nats.
  public let truthEntropy: Double
  public let proposalEntropy: Double
  /// I, in nats; in 0...min(truthEntropy, proposalEntropy).
  public let information: Double

  /// V_Rand.
  public var rand: Double { Self.ratio(2 * Double(jointPairs), Double(truthPairs) + Double(proposalPairs)) }
  /// AB² / A²: of the pairs in one truth region, the share that lies in one segment.
  public var randSplit: Double { Self.ratio(Double(jointPairs), Double(truthPairs)) }
  /// AB² / B²: of the pairs in one segment, the share that lies in one truth region.
  public var randMerge: Double { Self.ratio(Double(jointPairs), Double(proposalPairs)) }

  /// V_Info.
  public var info: Double { Self.ratio(2 * information, truthEntropy + proposalEntropy) }
  /// I / −S_B: what a segment tells beyond the truth region lowers it.
  public var infoSplit: Double { Self.ratio(information, proposalEntropy) }
  /// I / −S_A: what a segment does not tell about the truth region lowers it.
  public var infoMerge: Double { Self.ratio(information, truthEntropy) }

  private static func ratio(_ part: Double, _ whole: Double) -> Double { whole == 0 ? 1 : part / whole }

  /// Compares two label images with as many pixels.
  ///
  /// - Parameters:
  ///   - truth: region of every pixel, 0 for pixels that do not count; any non-negative numbers.
  ///   - proposal: segment of every pixel, 0 for pixels that are segments of their own; any non-negative numbers.
  ///   - ignored: true for further pixels that do not count.
  public init(truth: [Int32], proposal: [Int32], ignored: [Bool]? = nil) {
    precondition(truth.count == proposal.count, "truth and proposal must have as many pixels")
    precondition(ignored.map { $0.count == truth.count } ?? true, "the ignore mask must have as many pixels as truth")
    let (regions, regionCount) = Self.renumbered(truth)
    let (segments, segmentCount) = Self.renumbered(proposal)
    let order = RegionOrder(pixels: regions.indices, count: regionCount) { pixel in
      ignored?[pixel] == true ? 0 : regions[pixel]
    }
    self.init(order, segments: segments, count: segmentCount)
  }

  /// 0 stays, other numbers become 1, 2, ….
  private static func renumbered(_ labels: [Int32]) -> (labels: [Int32], count: Int) {
    var numbers: [Int32: Int32] = [0: 0]
    let result = labels.map { label in
      precondition(label >= 0, "labels must not be negative, got \(label)")
      if let number = numbers[label] { return number }
      let number = Int32(numbers.count)
      numbers[label] = number
      return number
    }
    return (result, numbers.count - 1)
  }

  /// - Parameters:
  ///   - segments: labels 0...count at the places that `order` lists.
  init(_ order: RegionOrder, segments: [Int32], count: Int) {
    let n = order.pixels.count
    var perSegment = [Int](repeating: 0, count: count + 1)
    var inRegion = [Int32](repeating: 0, count: count + 1)
    var met: [Int] = []
    var (truthPairs, jointPairs) = (0, 0)
    var (truthSum, jointSum) = (0.0, 0.0)
    /// p ln p for a count of pixels.
    func term(_ pixels: Int) -> Double {
      let p = Double(pixels) / Double(n)
      return p * log(p)
    }
    for region in 0..<order.starts.count - 1 {
      let range = order.starts[region]..<order.starts[region + 1]
      if range.isEmpty { continue }
      truthPairs += range.count * range.count
      truthSum += term(range.count)
      segments.withUnsafeBufferPointer { segments in
        inRegion.withUnsafeMutableBufferPointer { inRegion in
          order.pixels.withUnsafeBufferPointer { pixels in
            for index in range {
              let segment = Int(segments[Int(pixels[index])])
              if inRegion[segment] == 0 { met.append(segment) }
              inRegion[segment] += 1
            }
          }
        }
      }
      for segment in met {
        let joint = Int(inRegion[segment])
        inRegion[segment] = 0
        perSegment[segment] += joint
        if segment == 0 { continue }
        jointPairs += joint * joint
        jointSum += term(joint)
      }
      met.removeAll(keepingCapacity: true)
    }
    let single = perSegment[0]
    // The pixels of label 0: each one pair with itself and a probability of 1/n.
    let singleSum = single == 0 ? 0 : Double(single) * term(1)
    var (proposalPairs, proposalSum) = (single, singleSum)
    for pixels in perSegment.dropFirst() where pixels > 0 {
      proposalPairs += pixels * pixels
      proposalSum += term(pixels)
    }
    pixels = n
    self.truthPairs = truthPairs
    self.proposalPairs = proposalPairs
    self.jointPairs = jointPairs + single
    truthEntropy = 0 - truthSum
    proposalEntropy = 0 - proposalSum
    // Rounding may carry the difference out of its range by some 10⁻¹⁶.
    information = min(max(jointSum + singleSum - truthSum - proposalSum, 0), truthEntropy, proposalEntropy)
  }
}

/// The pixels that count, region by region: made once per slice, used for every threshold.
struct RegionOrder {
  /// Places of the pixels, those of region r + 1 at starts[r]..<starts[r + 1].
  let pixels: [Int32]
  let starts: [Int]

  /// - Parameters:
  ///   - places: where the pixels are in the array of segments.
  ///   - count: number of regions.
  ///   - region: the region 1...count of the pixel at a place, 0 or less where it does not count.
  init(pixels places: some Sequence<Int>, count: Int, region: (Int) -> Int32) {
    var starts = [Int](repeating: 0, count: count + 1)
    for place in places {
      let r = Int(region(place))
      if r > 0 { starts[r] += 1 }
    }
    for r in 0..<count { starts[r + 1] += starts[r] }
    var next = starts
    var pixels = [Int32](repeating: 0, count: starts[count])
    for place in places {
      let r = Int(region(place))
      if r <= 0 { continue }
      pixels[next[r - 1]] = Int32(place)
      next[r - 1] += 1
    }
    self.pixels = pixels
    self.starts = starts
  }
}
