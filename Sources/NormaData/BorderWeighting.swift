import Dispatch
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The U-Net paper's weight map, which makes the network learn the narrow gaps between cells.
///
/// w(x) = w_c(x) + w0·exp(−(d1(x) + d2(x))² / 2σ²), where d1 and d2 are the distances in pixels to the nearest
/// and second nearest cell, that is 4-connected component of class 1, and w_c balances the classes:
/// 1 / (K·f_c) for a class of frequency f_c, so that w_c has mean 1. Pixels without a label weigh 0. With fewer
/// than two cells on a slice the second term is 0.
///
/// Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, section 3, equation 2.
public struct BorderWeighting: Sendable, Codable, Equatable {
  /// The greatest weight that the border term adds, w0.
  public var strength: Float
  /// The width σ of the border term in pixels.
  public var sigma: Float

  /// The paper's w0 = 10 and σ = 5 pixels, unless told otherwise.
  public init(strength: Float = 10, sigma: Float = 5) {
    self.strength = strength
    self.sigma = sigma
  }

  func validate() throws {
    guard strength.isFinite, strength >= 0, sigma.isFinite, sigma > 0 else {
      throw DataError(
        .parameter,
        "Expected border weights with strength ≥ 0 and sigma > 0, received \(strength) and \(sigma); "
          + "the U-Net paper takes 10 and 5 pixels.")
    }
  }

  /// The border term of one slice, [height, width].
  func map(labels: UnsafeBufferPointer<UInt8>, height: Int, width: Int) -> [Float] {
    let (components, count) = ConnectedComponents.number(labels, class: 1, height: height, width: width)
    if count < 2 { return [Float](repeating: 0, count: height * width) }
    let scale = -1 / (2 * sigma * sigma)
    return NearestComponents.pairs(components: components, height: height, width: width).map { pair in
      let sum = Float(pair.firstSquare).squareRoot() + Float(pair.secondSquare).squareRoot()
      return strength * exp(scale * sum * sum)
    }
  }
}

/// One slice's border term, computed when first asked for.
///
/// The lock is held while computing: a second worker that needs the same slice waits instead of computing
/// it again, and workers at other slices go on.
final class BorderMapCell: Sendable {
  private let cached = Mutex<(weighting: BorderWeighting, map: [Float])?>(nil)

  func map(for weighting: BorderWeighting, compute: () -> [Float]) -> [Float] {
    cached.withLock { cached in
      if let cached, cached.weighting == weighting { return cached.map }
      let map = compute()
      cached = (weighting, map)
      return map
    }
  }
}

extension SegmentationDataset {
  /// The weight of every pixel of one slice, [height, width], by `BorderWeighting`'s formula.
  ///
  /// The border term is computed once per slice and kept. The class weights are those of this part, so that
  /// training weights do not depend on validation slices.
  public func borderWeights(page: Int, weighting: BorderWeighting = BorderWeighting()) -> [Float] {
    let balance = classWeightTable
    return zip(borderMap(page: page, weighting: weighting), labels(page: page)).map { border, label in
      label == Self.ignoredClass ? 0 : balance[Int(label)] + border
    }
  }

  /// Computes and keeps the border terms of all slices, on all cores.
  ///
  /// Optional: a loader computes those it meets. Calling it first keeps that work out of the first epoch.
  public func prepareBorderWeights(_ weighting: BorderWeighting = BorderWeighting()) {
    DispatchQueue.concurrentPerform(iterations: pages) { page in
      _ = borderMap(page: page, weighting: weighting)
    }
  }

  func borderMap(page: Int, weighting: BorderWeighting) -> [Float] {
    let stackPage = stackPage(page)
    let area = height * width
    return storage.borders[stackPage].map(for: weighting) {
      storage.labels.withUnsafeBufferPointer { labels in
        let slice = UnsafeBufferPointer(rebasing: labels[stackPage * area..<(stackPage + 1) * area])
        return weighting.map(labels: slice, height: height, width: width)
      }
    }
  }

  /// 1 / (K·f_c) for each class, 0 for a class that this part does not hold; 256 entries.
  var classWeightTable: [Float] {
    var table = [Float](repeating: 0, count: 256)
    for (index, frequency) in classFrequencies.enumerated() where frequency > 0 {
      table[index] = Float(1 / (Double(classes) * frequency))
    }
    return table
  }
}
