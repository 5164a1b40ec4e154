/// Numbers the 4-connected components of one class.
enum ConnectedComponents {
  /// 0 outside the class, 1, 2, … inside, in the order in which a row-wise scan meets the components.
  ///
  /// - Parameters:
  ///   - labels: classes, [height, width].
  ///   - label: the class whose components are wanted.
  static func number(
    _ labels: UnsafeBufferPointer<UInt8>, class label: UInt8, height: Int, width: Int
  ) -> (components: [Int32], count: Int) {
    var components = [Int32](repeating: 0, count: height * width)
    var count: Int32 = 0
    var pending: [Int] = []
    components.withUnsafeMutableBufferPointer { components in
      for start in 0..<height * width where labels[start] == label && components[start] == 0 {
        count += 1
        components[start] = count
        pending.append(start)
        while let pixel = pending.popLast() {
          let x = pixel % width
          // Left, right, up, down; a neighbour is pending once, because it is numbered when it is found.
          for (inside, neighbour) in [
            (x > 0, pixel - 1), (x + 1 < width, pixel + 1),
            (pixel >= width, pixel - width), (pixel + width < height * width, pixel + width),
          ] where inside && labels[neighbour] == label && components[neighbour] == 0 {
            components[neighbour] = count
            pending.append(neighbour)
          }
        }
      }
    }
    return (components, Int(count))
  }
}
